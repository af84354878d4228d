from fleet.common.errors import Conflict, InvalidInput, NotFound


class LogNotFound(NotFound):
    code = "device_log_not_found"


class LogEmpty(Conflict):
    """Nothing of it has come yet."""

    code = "device_log_empty"


class UnknownLogRequest(InvalidInput):
    """A cabinet sent a piece of a log that nobody asked this station for."""

    code = "unknown_log_request"


class DigestMismatch(InvalidInput):
    """A piece that was damaged on its way: send it again."""

    code = "digest_mismatch"


class PieceTooLarge(InvalidInput):
    code = "piece_too_large"


class ImpossibleChunk(InvalidInput):
    """A piece whose number contradicts what is known of its log."""

    code = "impossible_log_chunk"
