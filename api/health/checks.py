"""What this process needs from others, asked one by one."""

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api.health.schemas import Check
from fleet.db import session_scope
from fleet.devices.models import GatewayInstance

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
#: A gateway tells every few seconds that it lives and is connected.
GATEWAY_SILENCE = timedelta(seconds=20)


@cache
def _newest_revision() -> str | None:
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def database_checks(engine: Engine, now: datetime) -> dict[str, Check]:
    """Database, its schema, and the broker as the gateways see it."""
    try:
        with session_scope(engine) as session:
            found = {"database": Check(ok=True, detail="answers"), "migrations": _migrations(session)}
            if found["migrations"].ok:
                found["broker"] = _broker(session, now)
            return found
    except (DBAPIError, PoolTimeout) as error:
        return {"database": Check(ok=False, detail=f"{type(error).__name__}")}


def _migrations(session: Session) -> Check:
    if session.scalar(select(func.to_regclass("alembic_version"))) is None:
        return Check(ok=False, detail="no schema; newest is " + str(_newest_revision()))
    current = session.scalar(text("SELECT version_num FROM alembic_version"))
    if current == _newest_revision():
        return Check(ok=True, detail=f"at {current}")
    return Check(ok=False, detail=f"at {current}; newest is {_newest_revision()}")


def _broker(session: Session, now: datetime) -> Check:
    connected = session.scalar(
        select(func.count())
        .select_from(GatewayInstance)
        .where(GatewayInstance.last_seen_at > now - GATEWAY_SILENCE, GatewayInstance.connected_since.is_not(None))
    )
    if connected:
        return Check(ok=True, detail=f"{connected} gateway(s) connected")
    return Check(ok=False, detail="no gateway is connected to the broker")
