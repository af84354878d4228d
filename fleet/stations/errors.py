from fleet.common.errors import InvalidInput, NotFound


class StationNotFound(NotFound):
    code = "station_not_found"


class SlotNotFound(NotFound):
    code = "slot_not_found"


class NoSuchSlot(InvalidInput):
    """A cabinet told of a slot (`slot`) that its station does not have (`slots`)."""

    code = "no_such_slot"
