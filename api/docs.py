"""`/api/openapi.json` and `/api/docs`: Swagger UI from a package's files, so that it shows without a network."""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

ASSETS = "/api/docs/assets"
#: The page's own files and the inline script that starts them.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'"
)


def assets() -> StaticFiles:
    return StaticFiles(directory=str(files("fastapi_offline") / "static"))


@router.get("/")
def entrance() -> RedirectResponse:
    """Whoever opens the address that `voltbay up` prints wants to see something."""
    return RedirectResponse("/api/docs", 307)


@router.get("/api/openapi.json")
def document(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = request.app.openapi()
    return found


@router.get("/api/docs")
def page() -> HTMLResponse:
    html = get_swagger_ui_html(
        openapi_url="/api/openapi.json",
        title="Voltbay API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    html.headers["Content-Security-Policy"] = _POLICY
    return html
