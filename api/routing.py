"""Which route a request is for, without asking three hundred of them (decision 0345)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

#: `/api/v1/{area}/…`: the area is the fourth part, behind an empty one.
_PARTS: Final = 4


class Table:
    """The router's routes by method and area, each list in the router's order, of which the first that matches is
    taken: as the router does it, which takes what is not found here (mounts, wrong methods, paths of nothing).
    """

    def __init__(self, app: FastAPI) -> None:
        self._router = app.router
        self._routes = _by_area(app.router.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            path: str = scope["path"]
            for route in self._routes.get((scope["method"], _area(path)), ()):
                if _fits(route, path):
                    _, found = route.matches(scope)
                    scope["router"] = self._router
                    scope.update(found)
                    await route.handle(scope, receive, send)
                    return
            self._refuse_method(scope)
        await self._router.app(scope, receive, send)

    def _refuse_method(self, scope: Scope) -> None:
        """The router would name the methods of one route only. Raises HTTPException when there are any."""
        path: str = scope["path"]
        area = _area(path)
        fit = [each for key, routes in self._routes.items() if key[1] == area for each in routes if _fits(each, path)]
        if fit:
            scope["route"] = fit[0]  # what metrics count it under
            methods = sorted({method for each in fit for method in each.methods or ()})
            raise HTTPException(405, headers={"Allow": ", ".join(methods)})


def _fits(route: APIRoute, path: str) -> bool:
    return route.path_regex.match(path) is not None


def _by_area(routes: Sequence[BaseRoute]) -> dict[tuple[str, str], list[APIRoute]]:
    """Raises TypeError when something that is of no area comes before an operation, which it might have to hide."""
    found: dict[tuple[str, str], list[APIRoute]] = defaultdict(list)
    last: BaseRoute | None = None
    for route in routes:
        if not isinstance(route, APIRoute) or "{" in _area(route.path):
            last = route
            continue
        if last is not None:
            raise TypeError(f"{route.path} comes after {last}")
        for method in route.methods or ():
            found[method, _area(route.path)].append(route)
    return found


def _area(path: str) -> str:
    return "/".join(path.split("/", _PARTS)[:_PARTS])
