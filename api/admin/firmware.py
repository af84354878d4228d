"""Firmware: the root of trust, releases and their images, rollouts."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import Path, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.admin.acts import Acts, ActsDep
from api.admin.firmware_schemas import (
    ReleaseIn,
    ReleaseOut,
    RolloutActionIn,
    RolloutEventOut,
    RolloutIn,
    RolloutOut,
    RootIn,
    RootOut,
    RootsOut,
    TargetOut,
)
from api.auth import CurrentOperator, WaitingOperator
from api.deps import Address, RequestId, RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.common.blobs import FolderBlobs, Incoming
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices.firmware import queries, releases, rollouts
from fleet.devices.firmware.models import FirmwareRelease, FirmwareRollout, TargetState
from fleet.devices.firmware.rules import Action

router = area("admin", "admin")
_IMAGE: Final = {"schema": {"type": "string", "format": "binary"}, "example": "the bytes of image.bin"}
ReleaseId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get(
    "/firmware/root", operation_id="list_firmware_roots", summary="The root of trust, oldest version first",
    responses=problems(401, 403),
)  # fmt: skip
def list_roots(session: SessionDep, _: CurrentOperator) -> RootsOut:
    return RootsOut(items=[RootOut.model_validate(row) for row in releases.roots(session)])


@router.post(
    "/firmware/root", operation_id="add_firmware_root", summary="Add the next version of the root of trust",
    status_code=201, responses=problems(401, 403),
)  # fmt: skip
def add_root(body: RootIn, acts: ActsDep) -> RootOut:
    """Signed offline by a threshold of the keys before it and of its own; the first one by its own."""
    row = releases.add_root(acts.session, body.envelope, acts.now, actor_id=acts.operator.id)
    acts.record("firmware.root", target=str(row.version))
    return RootOut.model_validate(row)


@router.get(
    "/firmware/release", operation_id="list_firmware_releases", summary="Releases, newest first",
    responses=problems(401, 403),
)  # fmt: skip
def list_releases(
    session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ReleaseOut]:
    rows = releases.releases(session, limit=limit + 1, before=runtime.cursors.read("releases", cursor))
    more = runtime.cursors.make("releases", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[ReleaseOut.model_validate(row) for row in rows[:limit]], next=more)


@router.post(
    "/firmware/release", operation_id="add_firmware_release", summary="Add a signed release", status_code=201,
    responses=problems(401, 403, 409),
)  # fmt: skip
def add_release(body: ReleaseIn, acts: ActsDep) -> ReleaseOut:
    """Refused when cabinets would refuse it. Its image comes next: `PUT …/image`."""
    row = releases.add_release(acts.session, body.envelope, acts.now, notes=body.notes, actor_id=acts.operator.id)
    acts.record("firmware.release", target=str(row.id), detail={"version": row.version, "sha256": row.sha256})
    return ReleaseOut.model_validate(row)


@router.put(
    "/firmware/release/{release_id}/image", operation_id="put_firmware_image", summary="Bring a release's image",
    responses=problems(401, 403, 404, 409, 413),
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": _IMAGE}}},
)  # fmt: skip
async def put_image(  # FastAPI gives them by name
    release_id: ReleaseId,
    request: Request,
    runtime: RuntimeDep,
    operator: WaitingOperator,
    request_id: RequestId,
    address: Address,
) -> ReleaseOut:
    """The raw bytes. Kept only when size and SHA-256 are those that were signed; sent again it changes nothing.

    No transaction is open while the bytes come in.
    """
    blobs = FolderBlobs(runtime.settings.blobs)

    def wanted() -> FirmwareRelease:
        with session_scope(runtime.engine) as session:
            return releases.get_release(session, release_id)

    def arrived() -> ReleaseOut:
        with session_scope(runtime.engine) as session:
            return _arrived(Acts(session, operator, request_id, address, utc_now()), release_id, blobs)

    release = await run_in_threadpool(wanted)
    with blobs.incoming(releases.image_key(release)) as incoming:
        await _receive(request, incoming, release.size)
        await run_in_threadpool(incoming.keep, size=release.size, sha256=release.sha256)
    return await run_in_threadpool(arrived)


async def _receive(request: Request, incoming: Incoming, size: int) -> None:
    """No more than one part beyond `size`: what is longer is refused anyway."""
    taken = 0
    async for part in request.stream():
        taken += len(part)
        await run_in_threadpool(incoming.write, part)
        if taken > size:
            return


def _arrived(acts: Acts, release_id: int, blobs: FolderBlobs) -> ReleaseOut:
    row = releases.image_arrived(acts.session, release_id, blobs)
    acts.record("firmware.image", target=str(release_id))
    return ReleaseOut.model_validate(row)


@router.post(
    "/firmware/release/{release_id}/withdraw", operation_id="withdraw_firmware_release",
    summary="Give a release out no more", responses=problems(401, 403, 404),
)  # fmt: skip
def withdraw(release_id: ReleaseId, acts: ActsDep) -> ReleaseOut:
    """Its rollouts halt. Cabinets that have it keep it."""
    row = releases.withdraw(acts.session, release_id)
    acts.record("firmware.withdraw", target=str(release_id))
    return ReleaseOut.model_validate(row)


@router.get(
    "/firmware/rollout", operation_id="list_firmware_rollouts", summary="Rollouts, newest first",
    responses=problems(401, 403),
)  # fmt: skip
def list_rollouts(
    session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[RolloutOut]:
    before = runtime.cursors.read("rollouts", cursor)
    rows = queries.rollouts(session, limit=limit + 1, before=UUID(before) if before else None)
    more = runtime.cursors.make("rollouts", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[_out(session, row) for row in rows[:limit]], next=more)


@router.post(
    "/firmware/rollout", operation_id="create_firmware_rollout", summary="Plan a rollout", status_code=201,
    responses=problems(401, 403, 404),
)  # fmt: skip
def create_rollout(body: RolloutIn, acts: ActsDep) -> RolloutOut:
    """A draft: its stations are chosen now, and nothing is sent before it is approved."""
    row = rollouts.create(
        acts.session, release_id=body.release_id, name=body.name, specs=[each.spec() for each in body.groups],
        now=acts.now, failure_pct=body.failure_pct, per_minute=body.per_minute,
        device_deadline_s=body.device_deadline_s, actor_id=acts.operator.id,
    )  # fmt: skip
    acts.record("firmware.rollout", target=str(row.id), detail=body.model_dump(mode="json"))
    return _out(acts.session, row)


@router.get(
    "/firmware/rollout/{rollout_id}", operation_id="get_firmware_rollout", summary="How far a rollout is",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_rollout(rollout_id: UUID, session: SessionDep, _: CurrentOperator) -> RolloutOut:
    return _out(session, queries.get_rollout(session, rollout_id))


@router.get(
    "/firmware/rollout/{rollout_id}/target", operation_id="list_firmware_rollout_targets",
    summary="Each station of a rollout", responses=problems(401, 403, 404),
)  # fmt: skip
def list_targets(
    rollout_id: UUID,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[TargetState | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[TargetOut]:
    queries.get_rollout(session, rollout_id)
    after = runtime.cursors.read("rollout-targets", cursor)
    rows = queries.targets_of(session, rollout_id, limit=limit + 1, after_station=after, state=state)
    more = runtime.cursors.make("rollout-targets", rows[limit - 1][0].station_id) if len(rows) > limit else None
    fields = [name for name in TargetOut.model_fields if name != "station"]
    items = [TargetOut(station=code, **{name: getattr(row, name) for name in fields}) for row, code in rows[:limit]]
    return Page(items=items, next=more)


@router.get(
    "/firmware/rollout/{rollout_id}/event", operation_id="list_firmware_rollout_events",
    summary="Everything that happened in a rollout, newest first", responses=problems(401, 403, 404),
)  # fmt: skip
def list_events(
    rollout_id: UUID,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RolloutEventOut]:
    queries.get_rollout(session, rollout_id)
    before = runtime.cursors.read("rollout-events", cursor)
    rows = queries.events_of(session, rollout_id, limit=limit + 1, before=before)
    more = runtime.cursors.make("rollout-events", rows[limit - 1][0].id) if len(rows) > limit else None
    fields = [name for name in RolloutEventOut.model_fields if name != "station"]
    items = [
        RolloutEventOut(station=code, **{name: getattr(row, name) for name in fields}) for row, code in rows[:limit]
    ]
    return Page(items=items, next=more)


@router.post(
    "/firmware/rollout/{rollout_id}/{action}", operation_id="steer_firmware_rollout",
    summary="Approve, pause, resume, next group, abort", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def steer(rollout_id: UUID, action: Action, body: RolloutActionIn, acts: ActsDep) -> RolloutOut:
    """`abort` cannot be undone; stations that are at it are not called back."""
    row = rollouts.steer(
        acts.session, rollout_id, action, acts.now, actor_id=acts.operator.id, reason=body.reason,
        retry_failed=body.retry_failed,
    )  # fmt: skip
    acts.record(f"firmware.{action}", target=str(rollout_id), detail=body.model_dump(mode="json"))
    return _out(acts.session, row)


def _out(session: Session, row: FirmwareRollout) -> RolloutOut:
    version = session.get_one(FirmwareRelease, row.release_id).version
    return RolloutOut.of(row, version, queries.groups_of(session, row.id))
