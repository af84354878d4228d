"""Why a firmware document is refused. The codes are those of docs/protocol.md, 16.6: a cabinet answers with them."""

from firmware_protocol.errors import ProtocolError


class FirmwareRefused(ProtocolError):
    """Root of all reasons. `code` is what the cabinet's `command_result` carries."""

    code = "firmware_refused"


class BadDocument(FirmwareRefused):
    """Not a bundle, not an envelope, not in canonical form, or a field out of its range."""

    code = "bad_manifest"


class NotEnoughSignatures(FirmwareRefused):
    """Fewer different keys of the role than its threshold have signed these very bytes."""

    code = "bad_signature"


class RootGap(FirmwareRefused):
    """The bundle's roots do not begin right after the trusted one."""

    code = "root_gap"


class Expired(FirmwareRefused):
    """A freeze: what is offered was valid once. `expires_ms` has passed."""

    code = "expired"


class WrongHardware(FirmwareRefused):
    code = "wrong_hardware"


class Rollback(FirmwareRefused):
    """The release counter is below the installed one, or the same for another image."""

    code = "rollback"


class VersionTooOld(FirmwareRefused):
    """What runs now cannot be updated straight to this release."""

    code = "version_too_old"


class WrongImage(FirmwareRefused):
    """The image is not the one that was signed."""

    code = "wrong_image"
