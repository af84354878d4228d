"""Beat's schedule. Deadlines live in PostgreSQL rows; these tasks only look at them, so a tick that is lost loses time.

Every message expires when the next tick is due: after an outage one sweep runs, not a thousand.
"""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab


def every(seconds: float, task: str) -> dict[str, Any]:
    return {"task": task, "schedule": timedelta(seconds=seconds), "options": {"expires": max(seconds, 1.0)}}


SCHEDULE: dict[str, dict[str, Any]] = {
    # What riders and cabinets wait for.
    "command deadlines": every(1, "rentals.sweep_commands"),
    "rental deadlines": every(10, "rentals.sweep_rentals"),
    "reservations": every(5, "rentals.expire_reservations"),
    "swaps": every(5, "rentals.expire_swaps"),
    "reminders": every(30, "rentals.remind"),
    "presence": every(5, "devices.mark_silent"),
    "inventories": every(15, "devices.reconcile"),
    # What operators wait for.
    "configuration": every(2, "device_upkeep.sync_configuration"),
    "firmware": every(2, "device_upkeep.roll_out_firmware"),
    "device logs": every(3, "device_upkeep.collect_logs"),
    # Money whose fate a provider knows and we do not.
    "unknown payments": every(15, "payments.settle_unknown"),
    "money on its way out": every(15, "payments.sweep_money_out"),
    "payments against the provider's list": {
        "task": "payments.reconcile",
        "schedule": crontab(hour="4", minute="7"),
    },
    "subscriptions": every(30, "subscriptions.renew"),
    "debts": every(30, "rentals.collect_debts"),
    "expired payments": every(30, "payments.expire_intents"),
    "sandbox webhooks": every(1, "payments.deliver_sandbox_webhooks"),
    "ledger proof": {"task": "payments.prove_ledger", "schedule": crontab(hour="3", minute="17")},
    # Metal that must not be given to anybody.
    "health of power banks": every(20, "stations.judge_banks"),
    # What operators must hear of.
    "alerts": every(30, "telemetry.evaluate_alerts"),
    "anomalies": every(60, "rentals.find_anomalies"),
    # Housekeeping.
    "telemetry": every(600, "telemetry.upkeep"),
    "calls of cabinets": every(3600, "devices.forget_calls"),
    "old events of cabinets": every(3600, "devices.forget_events"),
    "dead letters": every(3600, "devices.forget_dead_letters"),
    "old device logs": every(3600, "device_upkeep.forget_logs"),
    "positions of riders": every(3600, "rentals.forget_locations"),
    "photos of riders": every(3600, "rentals.forget_photos"),
    "outbox": every(300, "common.forget_settled_events"),
    "idempotency keys": every(900, "common.forget_idempotency_keys"),
    "guests who left": every(3600, "users.forget_guests"),
    "codes and tokens": every(3600, "users.forget_expired"),
}
