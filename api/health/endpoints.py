from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST

from api.deps import Now, RuntimeDep
from api.health.checks import database_checks
from api.health.schemas import Check, Live, Ready

router = APIRouter(tags=["health"])


@router.get("/health/live", operation_id="health_live", summary="Does this process answer?")
async def live() -> Live:
    return Live()


@router.get(
    "/health/ready",
    operation_id="health_ready",
    summary="Can this system do its work?",
    responses={503: {"model": Ready, "description": "Something required is away; `checks` says what."}},
)
async def ready(runtime: RuntimeDep, now: Now, response: Response) -> Ready:
    checks = await run_in_threadpool(database_checks, runtime.engine, now)
    redis = await runtime.limiter.ping()
    checks["redis"] = Check(
        ok=redis, required=False, detail="answers" if redis else "away: background work waits, nothing is lost"
    )
    fine = all(check.ok for check in checks.values() if check.required)
    if not fine:
        response.status_code = 503
    return Ready(status="ready" if fine else "not_ready", checks=checks)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics of this process",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format"}},
)
def metrics(runtime: RuntimeDep) -> Response:
    return Response(runtime.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
