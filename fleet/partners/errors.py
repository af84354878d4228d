from fleet.common.errors import Conflict, Forbidden, NotFound


class NotAPartner(Forbidden):
    """The account belongs to no partner, or to one that is suspended."""

    code = "not_a_partner"


class PartnerNotFound(NotFound):
    """Also when it is not the caller's to see."""

    code = "partner_not_found"


class MemberElsewhere(Conflict):
    """The person works for another partner already."""

    code = "member_elsewhere"


class StationNotTheirs(NotFound):
    """The station (`station`) is not the caller's; whether it exists is not said."""

    code = "station_not_found"


class StationTaken(Conflict):
    """The station (`station`) is another partner's: it has to be given up first."""

    code = "station_taken"


class AgreementOverlap(Conflict):
    """An agreement for the same stations holds then already: end it first."""

    code = "agreement_overlap"


class AgreementNotFound(NotFound):
    code = "agreement_not_found"


class PayoutNotFound(NotFound):
    """Also when it is not the caller's to see."""

    code = "payout_not_found"


class PayoutBySamePerson(Forbidden):
    """Whoever asked for a payout cannot approve it."""

    code = "second_person_needed"


class ReferenceUsed(Conflict):
    """The bank's reference belongs to another payout (`reference`)."""

    code = "reference_used"


class PayoutOnItsWay(Conflict):
    """The payment provider (`provider`) has the order: it says what becomes of it, and nobody else."""

    code = "payout_on_its_way"
