"""Imports every model, so that Alembic sees the whole of `Base.metadata`; and names what the books are proven by."""

from fleet.common import models as common
from fleet.config import models as config
from fleet.db import Base
from fleet.devices import identity_models as device_identity
from fleet.devices import models as devices
from fleet.devices import vendor_models as vendor_cabinets
from fleet.devices.configuration import models as device_configuration
from fleet.devices.firmware import models as firmware
from fleet.devices.logs import models as device_logs
from fleet.partners import models as partners
from fleet.partners.proof import CHECKS as PARTNERS_CHECKS
from fleet.payments import intent_models as payments_intents
from fleet.payments import models as payments
from fleet.payments.debts import models as payments_debts
from fleet.payments.disputes import models as payments_disputes
from fleet.payments.outgoing import models as payments_outgoing
from fleet.payments.providers.sandbox import models as sandbox
from fleet.payments.reconciliation import models as payments_reconciliation
from fleet.rentals import models as rentals
from fleet.rentals.cases import models as rentals_cases
from fleet.rentals.corrections import models as rentals_corrections
from fleet.rentals.starts import models as rentals_starts
from fleet.rentals.tariffs import models as rentals_tariffs
from fleet.rentals.underway import models as rentals_underway
from fleet.stations import models as stations
from fleet.subscriptions import models as subscriptions
from fleet.subscriptions.proof import CHECKS as SUBSCRIPTIONS_CHECKS
from fleet.telemetry import models as telemetry
from fleet.users import models as users

metadata = Base.metadata
#: For `payments.proof.prove`: what areas above payments look at.
CHECKS = {**SUBSCRIPTIONS_CHECKS, **PARTNERS_CHECKS}
AREAS = (
    common,
    config,
    users,
    stations,
    devices,
    device_identity,
    vendor_cabinets,
    device_configuration,
    device_logs,
    firmware,
    telemetry,
    payments,
    payments_debts,
    payments_intents,
    payments_disputes,
    payments_outgoing,
    payments_reconciliation,
    sandbox,
    subscriptions,
    rentals,
    rentals_tariffs,
    rentals_cases,
    rentals_corrections,
    rentals_underway,
    rentals_starts,
    partners,
)
