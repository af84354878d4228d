from fleet.common.errors import Conflict, Forbidden, InvalidInput, NotFound


class RentalNotFound(NotFound):
    code = "rental_not_found"


class RiderNotActive(Forbidden):
    """Suspended or deleted accounts rent nothing."""

    code = "rider_not_active"


class MoneyOwed(Conflict):
    """`due_minor`, `currency`: an earlier rental is not paid for."""

    code = "money_owed"


class TooManyOpenRentals(Conflict):
    """`limit`: the rider has that many banks out, or under way."""

    code = "too_many_open_rentals"


class StationNotRenting(Conflict):
    """In maintenance or disabled (`status`)."""

    code = "station_not_renting"


class StationOffline(Conflict):
    """The cabinet is not connected, or has not been heard from lately."""

    code = "station_offline"


class NoBankAvailable(Conflict):
    """No healthy slot holds a bank with enough charge, or another rider was faster."""

    code = "no_bank_available"


class SlotNotAvailable(Conflict):
    """The slot asked for (`slot`) holds no bank that may be rented."""

    code = "slot_not_available"


class NoTariff(Conflict):
    """Nobody has said what a rental from this station costs."""

    code = "no_tariff"


class PackageNotFound(NotFound):
    """No such package, withdrawn, or not in the currency of the rental."""

    code = "package_not_found"


class PackageExists(Conflict):
    """One of that name is offered in that currency already (`name`)."""

    code = "package_exists"


class PackageTooDear(Conflict):
    """It costs as much as the power bank itself (`total_cap_minor`)."""

    code = "package_too_dear"


class AlreadyReserved(Conflict):
    """A bank is kept for the rider already (`reservation_id`)."""

    code = "already_reserved"


class ReservedLately(Conflict):
    """A bank was kept for the rider at this station until a short while ago (`again_at`)."""

    code = "reserved_lately"


class ReservationNotFound(NotFound):
    code = "reservation_not_found"


class ReservationOver(Conflict):
    """It was used, or its time is over (`state`)."""

    code = "reservation_over"


class NotSwappable(Conflict):
    """Not out, out for too long, or exchanged before (`reason`, `state`)."""

    code = "rental_not_swappable"


class NotExtendable(Conflict):
    """Not out, late already, begun without a package, or extended often enough (`reason`, `state`)."""

    code = "rental_not_extendable"


class RentalNotCancellable(Conflict):
    """The cabinet has the order, or the bank was not back at once (`reason`, `state`)."""

    code = "rental_not_cancellable"


class CaseNotFound(NotFound):
    code = "orphan_case_not_found"


class CaseClosed(Conflict):
    code = "orphan_case_closed"


class BankIsHere(Conflict):
    """The bank (`serial`) is in a slot (`place`): it cannot be lost."""

    code = "bank_is_here"


class BankNotHeld(Conflict):
    """Nobody holds the bank (`serial`) back; its `state` is for cabinets and rentals to say."""

    code = "bank_not_held"


class TariffNotFound(NotFound):
    code = "tariff_not_found"


class TariffOverlap(Conflict):
    """Two tariffs for the same station, venue, city, country or for everywhere cannot hold at once."""

    code = "tariff_overlap"


class TariffRevised(Conflict):
    """Only the newest version can be revised or ended (`version`, `newest`): somebody else was faster."""

    code = "tariff_revised"


class RentalNotOpen(Conflict):
    """The rider does not have the bank (`state`): there is nothing to put right, or somebody was faster."""

    code = "rental_not_open"


class RentalNotClosed(Conflict):
    """The bank is out still, or never was (`state`)."""

    code = "rental_not_closed"


class SlotTaken(Conflict):
    """The slot (`place`) holds another bank (`serial`)."""

    code = "slot_taken"


class BankTaken(Conflict):
    """Another rental (`rental_id`) has the bank (`serial`)."""

    code = "bank_taken"


class PauseOverlaps(Conflict):
    """Billing was paused in a part of that time already."""

    code = "pause_overlaps"


class ClaimPending(Conflict):
    """An earlier claim (`station`, `slot`) is not decided yet."""

    code = "return_claim_pending"


class TooManyClaims(Conflict):
    """The rider said so often enough (`limit`): an operator has to look."""

    code = "too_many_return_claims"


class ClaimNotFound(NotFound):
    code = "return_claim_not_found"


class NotAPicture(InvalidInput):
    """What was sent cannot be read as a JPEG, PNG or WebP."""

    code = "not_a_picture"


class PictureTooLarge(InvalidInput):
    """More bytes or pixels than `limit`."""

    code = "picture_too_large"


class TooManyPhotos(Conflict):
    """The claim has so many (`limit`) already."""

    code = "too_many_photos"


class PhotoNotFound(NotFound):
    """Also when it is forgotten, or another rider's."""

    code = "photo_not_found"


class IssueNotFound(NotFound):
    code = "rental_issue_not_found"


class DisputeNotFound(NotFound):
    code = "dispute_not_found"


class DisputeDecided(Conflict):
    """It was decided (`state`), and one dispute a rental is all there is."""

    code = "dispute_decided"


class DisputeTooLate(Conflict):
    """The rental ended more than `days` days ago."""

    code = "dispute_too_late"


class NothingToDispute(Conflict):
    """The rental cost nothing."""

    code = "nothing_to_dispute"


class RentalNotAssignable(Conflict):
    """The rental is over and was charged (`state`): no bank is assigned to it any more."""

    code = "rental_not_assignable"


class LocationNotShared(Conflict):
    """The rider has not allowed to keep positions of this rental, or the rental is over (`state`)."""

    code = "location_not_shared"
