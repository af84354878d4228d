"""How an operation is run: what it depends on and what it does in one thread, and so in one turn (decision 0345).

FastAPI walks the tree of dependencies at every request and sends each plain function to a thread and back: a rider's
GET took four such trips, and held its connection while it waited for the next one. Here the tree is walked once, when
the operation is declared; FastAPI is left with what is read from the request (path, query, headers, body).
"""

from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, isasyncgenfunction, isclass, iscoroutinefunction, isfunction, signature
from inspect import isgeneratorfunction as is_scope
from typing import Annotated, Any, Final, ParamSpec, TypeVar, get_args, get_origin

from fastapi import Request, Response, params
from fastapi.concurrency import run_in_threadpool
from fastapi.datastructures import DefaultPlaceholder
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase

from api.json_bodies import JsonRequest, check_address

_P = ParamSpec("_P")
_T = TypeVar("_T")
#: Under which name FastAPI gives the request, however functions call theirs.
_REQUEST: Final = "request"
#: What FastAPI is told of how an answer is written (`response_model_…`).
_SHAPE: Final = ("include", "exclude", "by_alias", "exclude_unset", "exclude_defaults", "exclude_none")
#: Values by name where FastAPI reads them from the request, by function where a dependency makes them.
Values = dict[Any, Any]


def instant(call: Callable[_P, _T]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """A dependency that waits for nothing. A coroutine where FastAPI itself asks for it, which needs no thread then."""

    @wraps(call)
    async def asked(*args: _P.args, **named: _P.kwargs) -> _T:
        return call(*args, **named)

    return asked


@dataclass(frozen=True, slots=True)
class _Part:
    """One dependency. `takes`: its parameters and what to give for them."""

    key: Callable[..., Any]
    call: Callable[..., Any]
    takes: tuple[tuple[str, Any], ...]
    #: Has to be awaited, or runs in the endpoint's thread; a scope is left when the endpoint is done.
    awaited: bool
    threaded: bool
    scope: bool
    #: Needs nothing of the request that FastAPI has to check first.
    free: bool

    def arguments(self, values: Values) -> dict[str, Any]:
        return {name: values[key] for name, key in self.takes}


class Plan:
    """What an endpoint depends on, in the order in which it is asked for.

    Plain functions and generators are asked in the thread of an endpoint that is a plain function itself; those of a
    coroutine are left to FastAPI. Raises TypeError where names of parameters mean different things, and for what a
    plan does not do: dependencies that are asked twice (`use_cache=False`), by few at once (`max_concurrency`), or left
    after the answer (a scope of "request").
    """

    def __init__(self, endpoint: Callable[..., Any]) -> None:
        self.endpoint = endpoint
        self.threaded = not iscoroutinefunction(endpoint)
        #: What FastAPI is asked for.
        self.outside: dict[str, Parameter] = {}
        #: Of these, what is there for the document only.
        self.documented: set[str] = set()
        self._parts: dict[Callable[..., Any], _Part] = {}
        self.takes = self._takes(endpoint)

    @property
    def on_loop(self) -> list[_Part]:
        return [part for part in self._parts.values() if not part.threaded]

    @property
    def in_thread(self) -> list[_Part]:
        return [part for part in self._parts.values() if part.threaded]

    def signature(self) -> Signature:
        parameters = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in self.outside.values()]
        return Signature(parameters, return_annotation=signature(self.endpoint).return_annotation)

    def _takes(self, call: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
        """Own parameters before those of dependencies: the document lists them in this order."""
        parameters = signature(call).parameters
        inner = {name: found for name, each in parameters.items() if (found := self._dependency(each)) is not None}
        outer = {name: self._outside(each) for name, each in parameters.items() if name not in inner}
        made = {name: self._part(found) for name, found in inner.items()}
        return tuple((name, made[name] if name in made else outer[name]) for name in parameters)

    def _dependency(self, parameter: Parameter) -> Callable[..., Any] | None:
        """What makes the value, when it is for us to ask."""
        found = _depends(parameter)
        call = None if found is None else found.dependency
        if found is None or not isfunction(call) or isasyncgenfunction(call):
            return None
        if not (self.threaded or iscoroutinefunction(call)):
            return None
        left_late = is_scope(call) and found.scope != "function"
        if left_late or not found.use_cache or found.max_concurrency is not None:
            raise TypeError(f"{parameter.name} of {self.endpoint.__qualname__} cannot be planned: {found}")
        return call

    def _outside(self, parameter: Parameter) -> str:
        if isclass(parameter.annotation) and issubclass(parameter.annotation, Request):
            parameter = parameter.replace(name=_REQUEST)
        known = self.outside.setdefault(parameter.name, parameter)
        if (known.annotation, known.default) != (parameter.annotation, parameter.default):
            raise TypeError(f"{parameter.name} of {self.endpoint.__qualname__} means two things")
        found: Any = _depends(parameter)
        if found is not None and isinstance(found.dependency, SecurityBase):
            self.documented.add(parameter.name)
        return parameter.name

    def _part(self, key: Callable[..., Any]) -> Callable[..., Any]:
        if key in self._parts:
            return key
        takes = self._takes(key)
        call: Callable[..., Any] = getattr(key, "__wrapped__", key)
        after = [self._parts[each] for _, each in takes if each in self._parts]
        awaited = iscoroutinefunction(call)
        threaded = not iscoroutinefunction(key) or any(each.threaded for each in after)
        if awaited and threaded:
            raise TypeError(f"{call.__qualname__} is a coroutine and depends on what runs in a thread")
        read = {each for _, each in takes if isinstance(each, str)} - self.documented - {_REQUEST}
        free = not read and all(each.free for each in after)
        self._parts[key] = _Part(key, call, takes, awaited, threaded, is_scope(call), free)
        return key


def _depends(parameter: Parameter) -> params.Depends | None:
    if get_origin(parameter.annotation) is not Annotated:
        return None
    found = [each for each in get_args(parameter.annotation) if isinstance(each, params.Depends)]
    return found[-1] if found else None  # of several the last one, as FastAPI has it


class Operation(APIRoute):
    """A route whose endpoint and dependencies run as a Plan says. Answers are made inside the transaction, so that
    one that cannot be made takes back what was done; but not those of operations that take a Response of their own.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._planned = not isasyncgenfunction(endpoint)
        if not self._planned:  # a stream: its answer goes on after the endpoint
            super().__init__(path, endpoint, **options)
            return
        self._plan = Plan(endpoint)
        self._on_loop, self._in_thread = self._plan.on_loop, self._plan.in_thread
        self._given = dict.fromkeys(self._plan.documented)
        super().__init__(path, self._served(), **options)
        own_response = any(each.annotation is Response for each in self._plan.outside.values())
        self._renders = (
            self.response_field is not None and isinstance(self.response_class, DefaultPlaceholder) and not own_response
        )
        self._shape = {name: getattr(self, f"response_model_{name}") for name in _SHAPE}

    def _served(self) -> Callable[..., Any]:
        """What FastAPI takes for the endpoint."""

        async def served(**values: Any) -> Any:
            values.update(self._given)
            await _ask(self._on_loop, values)
            if self._plan.threaded:
                return await run_in_threadpool(self._work, values)
            return await self._plan.endpoint(**{name: values[key] for name, key in self._plan.takes})

        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(served, name, getattr(self._plan.endpoint, name))
        served.__signature__ = self._plan.signature()  # type: ignore[attr-defined]  # what `signature` looks for
        return served

    def _work(self, values: Values) -> Any:
        with ExitStack() as stack:
            _enter(self._in_thread, values, stack)
            answer = self._plan.endpoint(**{name: values[key] for name, key in self._plan.takes})
            return self._rendered(answer) if self._renders and not isinstance(answer, Response) else answer
        raise RuntimeError(f"a dependency of {self._plan.endpoint.__qualname__} has swallowed what was raised")

    def _rendered(self, answer: Any) -> Response:
        """As FastAPI does it, but where the transaction is still open."""
        assert self.response_field is not None
        value, problems = self.response_field.validate(answer, {}, loc=("response",))
        if problems:
            raise ResponseValidationError(errors=problems, body=answer)
        body = self.response_field.serialize_json(value, **self._shape)
        return Response(body, self.status_code or 200, media_type="application/json")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        if not self._planned:
            return super().get_route_handler()
        whole = self.dependant
        asked = [each for each in whole.dependencies if not isinstance(each.call, SecurityBase)]
        self.dependant = replace(whole, dependencies=asked)
        try:
            handle = super().get_route_handler()
        finally:
            self.dependant = whole

        reads_body = self.body_field is not None

        async def handler(request: Request) -> Response:
            asked = JsonRequest(request.scope, request.receive) if reads_body else request
            try:
                check_address(request.scope)
                return await handle(asked)
            except RequestValidationError:
                await self._admit(asked)
                raise

        return handler

    async def _admit(self, request: Request) -> None:
        """Who may not ask at all hears that, and not what is wrong with what they sent."""
        values: Values = {_REQUEST: request, **self._given}
        await _ask([part for part in self._on_loop if part.free], values)
        free = [part for part in self._in_thread if part.free]
        if not all(part.scope for part in free):
            await run_in_threadpool(_try, free, values)


async def _ask(parts: Iterable[_Part], values: Values) -> None:
    for part in parts:
        made = part.call(**part.arguments(values))
        values[part.key] = await made if part.awaited else made


def _enter(parts: Iterable[_Part], values: Values, stack: ExitStack) -> None:
    for part in parts:
        arguments = part.arguments(values)
        if part.scope:
            values[part.key] = stack.enter_context(contextmanager(part.call)(**arguments))
        else:
            values[part.key] = part.call(**arguments)


def _try(parts: Iterable[_Part], values: Values) -> None:
    with ExitStack() as stack:
        _enter(parts, values, stack)
