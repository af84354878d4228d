"""The cabinet's idea of time: its own clock, perhaps wrong, and the backend's, known since the last welcome."""


class CabinetClock:
    """All instants are milliseconds since 1970; `now_ms` is the true time, which the cabinet itself never sees."""

    def __init__(self) -> None:
        self.drift_ms = 0
        #: False: a cabinet without a clock, which stamps nothing.
        self.known = True
        self._server_ahead_ms: int | None = None

    def own(self, now_ms: int) -> int | None:
        """What the cabinet stamps its messages with; None when it has no clock."""
        return self._ticks(now_ms) if self.known else None

    def synchronise(self, server_ms: int, now_ms: int) -> None:
        """A welcome arrived. The cabinet's own clock is left alone: the backend knows both and corrects."""
        self._server_ahead_ms = server_ms - self._ticks(now_ms)

    def server(self, now_ms: int) -> int | None:
        """The backend's time by what the cabinet knows; None before the first welcome."""
        return None if self._server_ahead_ms is None else self._ticks(now_ms) + self._server_ahead_ms

    def _ticks(self, now_ms: int) -> int:
        return max(0, now_ms + self.drift_ms)
