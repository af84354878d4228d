"""Requirements that nobody can see from the backend's side, and what it takes to see them."""

from typing import Final

from simulators.conformance.verdicts import Line, Verdict

_POWER: Final = "cut its power: at this moment, then run this again"
_HANDS: Final = "takes hands at the cabinet"
_BROKER: Final = "the broker's log shows it"
_LONG: Final = "takes longer than a run"

_UNSEEN: Final = (
    ("1.1", "What happened to metal survives a power cut", _POWER),
    ("1.3", "What it does not know is null", "compare with the metal"),
    ("2.3", "It proves its identity and checks the broker's", _BROKER),
    ("2.4, 2.5", "Clean start, keep-alive", _BROKER),
    ("2.6, 2.7", "Full jitter, messages under way", _BROKER),
    ("3.3", "It uses its own topics only", "the broker refuses others (3.3)"),
    ("6.2", "The will", "pull its network cable: offline with this epoch follows"),
    ("6.10", "Leaving on purpose", _HANDS),
    ("7.5, 7.6", "Room for 256 events; losses are told", _LONG),
    ("7.7", "Unacknowledged events again after 60 s", _LONG),
    ("8.2", "64 ids are remembered through a power cut", _POWER),
    ("8.2.3", "A command that was cut off", _POWER),
    ("9.2.3", "A bank that does not leave", _HANDS),
    ("9.3, 9.5", "Not taken, another bank, by force; insertions", _HANDS),
    ("10.5", "A log over HTTP (20)", "takes a backend: order one with device-logs fetch"),
    ("10.6", "Updates that are signed", "takes keys: roll a release out to it (docs/firmware.md)"),
    ("10.7", "rotate_credential", "takes an authority: voltbay stations rotate"),
    ("10.8", "set_network", "may lose the cabinet"),
    ("12.1", "Its clock is not stepped within a boot", "step it, and compare `at`"),
    ("14", "Limits", "the frames of this run keep them (4.1)"),
    ("18, 19", "Provisioning, signed frames", "takes an authority: docs/protocol.md 18"),
)


def lines() -> list[Line]:
    return [Line(requirement=number, title=title, verdict=Verdict.NOT_RUN, why=why) for number, title, why in _UNSEEN]
