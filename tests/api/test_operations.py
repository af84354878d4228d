"""How operations run what they depend on, and how a request finds its operation."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from api.operations import Operation, Plan, instant
from api.routing import Table


class Seen(BaseModel):
    values: dict[str, str]


class World:
    """An application of one area, and what its dependencies did."""

    def __init__(self) -> None:
        self.router = APIRouter(prefix="/api/v1/thing", route_class=Operation)
        self.done: list[str] = []
        self.threads: set[int] = set()

    def here(self, what: str) -> None:
        self.done.append(what)
        self.threads.add(threading.get_ident())

    def client(self) -> "Client":
        app = FastAPI(routes=list(self.router.routes), redirect_slashes=False)
        app.router.middleware_stack = Table(app)
        return Client(app)


class Client:
    """Asks an application in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("POST", path, **options)


WORLD = World()


@pytest.fixture
def world() -> Iterator[World]:
    yield WORLD
    WORLD.__init__()  # type: ignore[misc]  # dependencies are functions of this module and know it by name


def _scope() -> Iterator[str]:
    WORLD.here("begin")
    try:
        yield "transaction"
    except BaseException as error:
        WORLD.here(f"rollback {type(error).__name__}")
        raise
    WORLD.here("commit")


Scope = Annotated[str, Depends(_scope, scope="function")]


@instant
def _caller(
    request: Request, _: Annotated[object, Depends(HTTPBearer(auto_error=False, description="for the document"))]
) -> str:
    name = request.headers.get("x-caller")
    if name is None:
        raise HTTPException(401)
    return name


Caller = Annotated[str, Depends(_caller)]


def _user(scope: Scope, caller: Caller) -> str:
    WORLD.here(f"user {caller}")
    if caller == "stranger":
        raise HTTPException(403)
    return f"{caller} in {scope}"


User = Annotated[str, Depends(_user)]


async def _page(limit: Annotated[int, Query(ge=1)] = 10) -> str:
    return f"{limit} a page"


Page = Annotated[str, Depends(_page)]


def test_all_of_an_operation_is_one_turn_in_one_thread(world: World) -> None:
    @world.router.get("/{name}")
    def read(name: str, user: User, scope: Scope, page: Page, kind: Annotated[str, Header()] = "none") -> Seen:
        world.here("work")
        return Seen(values={"name": name, "user": user, "scope": scope, "page": page, "kind": kind})

    answer = world.client().get("/api/v1/thing/x?limit=3", headers={"X-Caller": "ann", "Kind": "good"})
    assert answer.json()["values"] == {
        "name": "x", "user": "ann in transaction", "scope": "transaction", "page": "3 a page", "kind": "good",
    }  # fmt: skip
    assert world.done == ["begin", "user ann", "work", "commit"]
    assert len(world.threads) == 1
    assert threading.get_ident() not in world.threads


def test_an_answer_that_cannot_be_made_takes_back_what_was_done(world: World) -> None:
    @world.router.get("/bad")
    def bad(scope: Scope) -> Seen:
        return {"values": scope}  # type: ignore[return-value]  # what a bug returns

    assert world.client().get("/api/v1/thing/bad").status_code == 500
    assert world.done == ["begin", "rollback ResponseValidationError"]


def test_what_an_endpoint_raises_takes_back_what_was_done(world: World) -> None:
    @world.router.get("/bad")
    def bad(scope: Scope) -> Seen:
        raise HTTPException(409, scope)

    assert world.client().get("/api/v1/thing/bad").status_code == 409
    assert world.done == ["begin", "rollback HTTPException"]


def test_who_may_not_ask_does_not_hear_what_is_wrong_with_it(world: World) -> None:
    @world.router.post("/{number}")
    def write(number: int, body: Seen, user: User, page: Page) -> Seen:
        raise AssertionError((number, body, user, page))

    client = world.client()
    assert client.post("/api/v1/thing/many", json={}).status_code == 401
    assert client.post("/api/v1/thing/many", json={}, headers={"X-Caller": "stranger"}).status_code == 403
    assert client.post("/api/v1/thing/many", content=b"{", headers={"X-Caller": "stranger"}).status_code == 403
    assert client.post("/api/v1/thing/1?limit=0", json={"values": {}}, headers={"X-Caller": "ann"}).status_code == 422
    assert "work" not in world.done
    assert world.done.count("begin") == world.done.count("commit") + world.done.count("rollback HTTPException")


def test_status_headers_and_plain_responses_are_the_endpoints(world: World) -> None:
    @world.router.post("/made", status_code=201)
    def made(scope: Scope) -> Seen:
        return Seen(values={"scope": scope})

    @world.router.post("/told")
    def told(scope: Scope, response: Response) -> Seen:
        response.headers["X-Told"] = scope
        return Seen(values={})

    @world.router.post("/text", response_model=Seen)
    def text(scope: Scope) -> Response:
        return PlainTextResponse(scope, 202)

    @world.router.post("/nothing", status_code=204)
    def nothing(scope: Scope) -> None:
        assert scope

    client = world.client()
    answer = client.post("/api/v1/thing/made")
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/json")
    assert client.post("/api/v1/thing/told").headers["X-Told"] == "transaction"
    answer = client.post("/api/v1/thing/text")
    assert (answer.status_code, answer.text) == (202, "transaction")
    answer = client.post("/api/v1/thing/nothing")
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_coroutine_stays_on_the_loop_and_what_blocks_does_not(world: World) -> None:
    @world.router.get("/slow")
    async def slow(user: User, caller: Caller, page: Page) -> Seen:
        world.here("work")
        return Seen(values={"user": user, "caller": caller, "page": page})

    answer = world.client().get("/api/v1/thing/slow", headers={"X-Caller": "ann"})
    assert answer.json()["values"] == {"user": "ann in transaction", "caller": "ann", "page": "10 a page"}
    assert {"begin", "user ann", "work", "commit"} == set(world.done)
    assert len(world.threads) > 1


def test_a_stream_is_left_as_it_is(world: World) -> None:
    @world.router.get("/stream")
    async def stream(user: User) -> AsyncIterator[Seen]:
        yield Seen(values={"user": user})

    answer = world.client().get("/api/v1/thing/stream", headers={"X-Caller": "ann"})
    assert answer.json() == {"values": {"user": "ann in transaction"}}


def _swallows() -> Iterator[str]:
    try:
        yield "nothing"
    except ValueError:
        WORLD.here("swallowed")


def test_what_a_dependency_swallows_is_no_success(world: World) -> None:
    @world.router.get("/bad")
    def bad(swallows: Annotated[str, Depends(_swallows, scope="function")]) -> None:
        raise ValueError(swallows)

    assert world.client().get("/api/v1/thing/bad").status_code == 500
    assert world.done == ["swallowed"]


def test_answers_are_written_as_fastapi_is_told(world: World) -> None:
    @world.router.get("/part", response_model_exclude={"values"})
    def part(scope: Scope) -> Seen:
        return Seen(values={"scope": scope})

    assert world.client().get("/api/v1/thing/part").json() == {}


def test_the_document_has_what_dependencies_take(world: World) -> None:
    @world.router.get("/{name}")
    def read(name: str, user: User, page: Page, before: int = 0) -> Seen:
        """What it is for."""
        raise AssertionError((name, user, page, before))

    client = world.client()
    operation = client.get("/openapi.json").json()["paths"]["/api/v1/thing/{name}"]["get"]
    assert [each["name"] for each in operation["parameters"]] == ["name", "before", "limit"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert operation["description"] == "What it is for."


def _other(limit: Annotated[str, Query()]) -> str:
    return limit


async def _late(user: User) -> str:
    return user


def _two_meanings(page: Page, other: Annotated[str, Depends(_other)]) -> None:
    raise AssertionError((page, other))


def _coroutine_behind_a_thread(late: Annotated[str, Depends(_late)]) -> None:
    raise AssertionError(late)


def _left_late(scope: Annotated[str, Depends(_scope)]) -> None:
    raise AssertionError(scope)


def _asked_twice(user: Annotated[str, Depends(_user, use_cache=False)]) -> None:
    raise AssertionError(user)


def _few_at_once(user: Annotated[str, Depends(_user, max_concurrency=1)]) -> None:
    raise AssertionError(user)


@pytest.mark.parametrize("endpoint", [_left_late, _asked_twice, _few_at_once])
def test_what_a_plan_does_not_do_is_refused_when_it_is_declared(endpoint: Any) -> None:
    with pytest.raises(TypeError, match=f"of {endpoint.__name__} cannot be planned"):
        Plan(endpoint)


def test_of_several_dependencies_the_last_one_counts(world: World) -> None:
    @world.router.get("/last")
    def last(scope: Annotated[Annotated[str, Depends(_swallows, scope="function")], Depends(_page)]) -> Seen:
        return Seen(values={"scope": scope})

    assert world.client().get("/api/v1/thing/last").json()["values"] == {"scope": "10 a page"}


def test_what_cannot_be_planned_is_refused_when_it_is_declared() -> None:
    with pytest.raises(TypeError, match="limit of _two_meanings means two things"):
        Plan(_two_meanings)
    with pytest.raises(TypeError, match="_late is a coroutine and depends on what runs in a thread"):
        Plan(_coroutine_behind_a_thread)


def test_the_first_route_that_matches_is_taken_as_ever(world: World) -> None:
    for path in ("/fixed", "/{name}", "/later", "/{name}/part"):
        world.router.add_api_route(path, _told(path), methods=["GET"])
    world.router.add_api_route("/{name}", _told("deleted"), methods=["DELETE"])
    client = world.client()
    found = {path: client.get(f"/api/v1/thing/{path}").json() for path in ("fixed", "later", "x", "x/part")}
    assert found == {"fixed": "/fixed", "later": "/{name}", "x": "/{name}", "x/part": "/{name}/part"}
    assert client.ask("DELETE", "/api/v1/thing/x").json() == "deleted"
    wrong = client.post("/api/v1/thing/x")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "DELETE, GET")
    assert client.get("/api/v1/thing/x/none").status_code == 404
    assert client.get("/api/v1/other").status_code == 404


def _told(text: str) -> Any:
    async def told() -> str:
        return text

    return told


def test_a_table_does_not_change_what_hides_what(world: World) -> None:
    world.router.add_api_route("/fixed", _told(""), methods=["GET"])
    app = FastAPI(routes=[Mount("/api", app=FastAPI()), *world.router.routes], openapi_url=None)
    with pytest.raises(TypeError, match="/api/v1/thing/fixed comes after"):
        Table(app)
