from fleet.common.errors import Conflict, Forbidden, InvalidInput, NotFound


class UsernameTaken(Conflict):
    """Another station's device calls itself by this name (`username`) at the broker."""

    code = "username_taken"


class BadSigningRequest(InvalidInput):
    """A certificate cannot be made of this request; `field` is csr."""

    code = "bad_signing_request"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="csr")


class LockedOut(Forbidden):
    """An operator revoked this cabinet (`station`); one re-admits it."""

    code = "locked_out"


class ClaimRefused(Forbidden):
    """No such token, or not for this hardware, or the proof of the old credential is missing: all look the same."""

    code = "claim_refused"


class ClaimExpired(Forbidden):
    """The token was good once; an operator makes another."""

    code = "claim_expired"


class ClaimUsed(Conflict):
    """The token has been exchanged already, by another key or nonce."""

    code = "claim_used"


class RenewalRefused(Forbidden):
    """No certificate in force with this key id, or it has ended, or the proof is not its key's: all look the same."""

    code = "renewal_refused"


class RenewalNotDue(Conflict):
    """The certificate is good for longer; it may be renewed from `renew_from` on."""

    code = "renewal_not_due"


class CallRefused(Forbidden):
    """An HTTP call that no credential in force of its station signed: all reasons look the same."""

    code = "call_refused"


class AlreadyProvisioned(Conflict):
    """The station (`station`) has a credential; an operator revokes it, or makes a token that replaces it."""

    code = "already_provisioned"


class NotAssigned(Conflict):
    """The hardware (`hardware_serial`) has no station yet."""

    code = "not_assigned"


class NotProvisioned(NotFound):
    """The station (`station`) has no credential that this could be done with."""

    code = "not_provisioned"


class CommandNotSupported(Conflict):
    """The station's cabinet (`station`, `dialect`) has no such command (`command`); `supported` lists what it has."""

    code = "command_not_supported"


class BankNotThere(Conflict):
    """The bank (`serial`) is not in this station, as far as is known; `place` is where it is, or null."""

    code = "bank_not_there"


class SlotReserved(Conflict):
    """A rider waits for the bank in this slot (`slot`)."""

    code = "slot_reserved"


class EjectUnderWay(Conflict):
    """An eject is ordered or moving at this station (`station`): what would cut it off has to wait."""

    code = "eject_under_way"
