"""Imports every model, so that Alembic sees the whole of `Base.metadata`."""

from fleet.common import models as common
from fleet.config import models as config
from fleet.db import Base
from fleet.devices import models as devices
from fleet.payments import models as payments
from fleet.rentals import models as rentals
from fleet.stations import models as stations
from fleet.telemetry import models as telemetry
from fleet.users import models as users

metadata = Base.metadata
AREAS = (common, config, users, stations, devices, telemetry, payments, rentals)
