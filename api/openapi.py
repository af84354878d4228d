"""The published document: one, of the canonical paths."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import Problem

TITLE = "Voltbay"
VERSION = "1.0.0"
DESCRIPTION = """Backend for fleets of power-bank charging cabinets.

`/api/{area}/…` without a version is the same as `/api/v1/{area}/…`.

- **Errors** are RFC 9457 problem details (`application/problem+json`) with a stable `code`.
- **Lists** take `limit` (≤ 100) and `cursor`, and answer `next`.
- **Times** are RFC 3339 in UTC; **money** is `{amount_minor, currency}`.
- **`Idempotency-Key`** is required where money or metal moves: the same key with the same body gives the same answer
  for 24 h, with `Idempotency-Replayed: true`; with another body it is refused (422).
- **Rate limits** are told in `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` and, with 429, `Retry-After`.
- **`X-Request-Id`** is taken from the request, or made, and sent back.
"""
TAGS = [
    {"name": "users", "description": "Signing in by one-time code, tokens, the rider's own account."},
    {"name": "stations", "description": "Where cabinets are and what they hold."},
    {"name": "rentals", "description": "Quote, start, follow, price."},
    {"name": "payments", "description": "Wallet, top-ups, providers' webhooks."},
    {"name": "subscriptions", "description": "Plans, my subscription, what it costs and gives."},
    {"name": "config", "description": "What apps need to know before anybody signs in."},
    {"name": "devices", "description": "What cabinets themselves call over HTTPS."},
    {"name": "admin", "description": "Operators only; every act is in the audit log."},
    {"name": "sandbox", "description": "Development only: what would have been sent by SMS or e-mail."},
    {"name": "health", "description": "For orchestrators and monitoring."},
]


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of `app`, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=TITLE, version=VERSION, description=DESCRIPTION, routes=app.routes, tags=TAGS, openapi_version="3.1.0"
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = _problem_schema(schemas)
        _validation_is_a_problem(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _problem_schema(schemas: dict[str, Any]) -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    return schema


def _validation_is_a_problem(schema: dict[str, Any]) -> None:
    """FastAPI announces its own form of validation errors; ours are problems like all others."""
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            answer = operation.get("responses", {}).get("422")
            if answer is not None and "application/json" in answer.get("content", {}):
                answer["content"] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
