"""What cannot be done with simulated metal."""

from firmware_protocol.types import CommandOutcome


class SimulatorError(Exception):
    """Root of what the control API answers with a problem. `status` is its HTTP status."""

    status = 409


class UnknownStation(SimulatorError):
    status = 404


class UnknownBank(SimulatorError):
    """No bank of the fleet has this serial; insert it as foreign if that is what you want."""

    status = 404


class BankNotOut(SimulatorError):
    """The bank is in a cabinet, not in a rider's hand."""


class CannotInsert(SimulatorError):
    """Slot full, locked or not there."""


class NothingToRemove(SimulatorError):
    """No bank in that slot."""


class NotPossible(SimulatorError):
    """A cabinet that this fleet cannot have."""


class NotReady(SimulatorError):
    """The fleet was not welcomed in time."""

    status = 503


class StateUnusable(SimulatorError):
    """The state file belongs to another version or cannot be read."""


class Refused(Exception):  # the cabinet's answer to a command, not an error of the program
    """A command that moves nothing, with the outcome and code of its result."""

    def __init__(self, outcome: CommandOutcome, code: str) -> None:
        super().__init__(f"{outcome}: {code}")
        self.outcome = outcome
        self.code = code
