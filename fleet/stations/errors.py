from fleet.common.errors import Conflict, InvalidInput, NotFound


class StationNotFound(NotFound):
    code = "station_not_found"


class SlotNotFound(NotFound):
    code = "slot_not_found"


class NoSuchSlot(InvalidInput):
    """A cabinet told of a slot (`slot`) that its station does not have (`slots`)."""

    code = "no_such_slot"


class StationIsDisabled(Conflict):
    """The station (`station`) is taken out of the fleet; it is not for maintenance to bring it back."""

    code = "station_is_disabled"


class BankNotFound(NotFound):
    code = "bank_not_found"


class VenueNotFound(NotFound):
    code = "venue_not_found"
