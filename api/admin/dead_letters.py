from api.admin.acts import ActsDep
from api.admin.schemas import Code, DeadLetterOut, DeadLetterSummary
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.devices import dead_letters
from fleet.devices.models import DeadLetter

router = area("admin", "admin")


def _summary(row: DeadLetter) -> DeadLetterSummary:
    return DeadLetterSummary(
        id=row.id,
        topic=row.topic,
        station=row.station_code,
        error_code=row.error_code,
        error=row.error,
        received_at=row.received_at,
        state=row.state,
    )


def _whole(row: DeadLetter) -> DeadLetterOut:
    try:
        text = row.payload.decode()
    except UnicodeDecodeError:
        text = None
    return DeadLetterOut(
        **_summary(row).model_dump(),
        payload_hex=row.payload.hex(),
        payload_text=text,
        content_type=row.content_type,
        replayed_at=row.replayed_at,
        replay_error=row.replay_error,
    )


@router.get(
    "/dead-letter", operation_id="list_dead_letters", summary="Frames that wait for somebody to look, newest first",
    responses=problems(401, 403),
)  # fmt: skip
def list_waiting(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    station: Code | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DeadLetterSummary]:
    before = runtime.cursors.read("dead-letters", cursor)
    rows = dead_letters.list_waiting(session, limit=limit + 1, before=before, station_code=station)
    more = runtime.cursors.make("dead-letters", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[_summary(row) for row in rows[:limit]], next=more)


@router.get(
    "/dead-letter/{dead_letter_id}", operation_id="get_dead_letter", summary="One frame with its bytes",
    responses=problems(401, 403, 404),
)  # fmt: skip
def show(dead_letter_id: int, session: SessionDep, _: CurrentOperator) -> DeadLetterOut:
    return _whole(dead_letters.get(session, dead_letter_id))


@router.post(
    "/dead-letter/{dead_letter_id}/discard", operation_id="discard_dead_letter",
    summary="Nothing is to be done about it", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def discard(dead_letter_id: int, acts: ActsDep) -> DeadLetterOut:
    row = dead_letters.discard(acts.session, dead_letter_id)
    acts.record("dead_letter.discard", target=str(dead_letter_id))
    return _whole(row)


@router.post(
    "/dead-letter/{dead_letter_id}/replay", operation_id="replay_dead_letter",
    summary="Have a gateway run it again", status_code=202, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def replay(dead_letter_id: int, acts: ActsDep) -> DeadLetterOut:
    """Within seconds it is `replayed`, or `waiting` again with a new `replay_error`."""
    row = dead_letters.request_replay(acts.session, dead_letter_id)
    acts.record("dead_letter.replay", target=str(dead_letter_id))
    return _whole(row)
