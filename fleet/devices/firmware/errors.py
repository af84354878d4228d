from fleet.common.errors import Conflict, Forbidden, InvalidInput, NotFound


class NoRootOfTrust(Conflict):
    """The fleet has no root of trust yet: nothing can be verified."""

    code = "no_root_of_trust"


class SignatureRefused(InvalidInput):
    """A root or release that cabinets would refuse. `reason` is the code that a cabinet would answer."""

    code = "firmware_refused"


class ReleaseNotFound(NotFound):
    code = "firmware_release_not_found"


class ReleaseNotReady(Conflict):
    """Its image is not here, it has expired, or it was withdrawn."""

    code = "firmware_release_not_ready"


class RolloutNotFound(NotFound):
    code = "firmware_rollout_not_found"


class NoTargets(InvalidInput):
    """A group chooses no station that this release is for. `group` is its number, `stations` name what does not fit."""

    code = "no_rollout_targets"


class LinkRefused(Forbidden):
    """A download address that is not ours, or whose time is over."""

    code = "link_refused"
