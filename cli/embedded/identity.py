"""Devices' credentials for the embedded broker, before it starts."""

from pathlib import Path

from pydantic import SecretStr

from device_gateway.broker_sync import BrokerSync
from fleet.common.clock import utc_now
from fleet.db import create_engine_from
from fleet.settings import Settings


def write_identity(settings: Settings, database_url: str, folder: Path) -> None:
    """Write what the broker checks cabinets with; `settings` has the key that the fleet's authority is sealed with.

    Later changes are the gateway's to carry over. Raises fleet.common.vault.Unreadable.
    """
    engine = create_engine_from(database_url, name="voltbay-identity", pool_size=1)
    chosen = {"database_url": SecretStr(database_url), "broker_folder": folder}
    try:
        BrokerSync(settings.model_copy(update=chosen), engine, clock=utc_now).prepare()
    finally:
        engine.dispose()
