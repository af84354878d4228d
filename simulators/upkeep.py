"""What a cabinet does about itself: its configuration, its log, its firmware."""

from collections.abc import Callable
from typing import Final

from firmware_protocol.commands import CollectLogs, GetConfig, SetConfig, UpdateFirmware
from firmware_protocol.config_keys import KEYS
from firmware_protocol.firmware.documents import Release, read_bundle
from firmware_protocol.firmware.errors import FirmwareRefused
from firmware_protocol.firmware.trust import check_image, check_release, follow_roots
from firmware_protocol.messages import ConfigReport, FirmwareProgress, LogChunk
from firmware_protocol.types import CommandOutcome, ConfigValue, ResetCause
from simulators.agenda import Scope
from simulators.board import Board
from simulators.errors import Refused
from simulators.faults import FaultKind
from simulators.outputs import BringLog, Fetch, LogPiece

Restart = Callable[[int, ResetCause], None]
#: Logs that are kept to send pieces of them again.
_KEPT_LOGS: Final = 2
#: An update that waits for an eject to end looks again this soon.
_LOOK_AGAIN_MS: Final = 200
#: Half a second, so that the result leaves before the restart.
_RESULT_FIRST_MS: Final = 500


class Upkeep:
    """`Refused` is the cabinet's answer; `begin_update` returns without one while the image is on its way."""

    def __init__(self, board: Board, restart: Restart, busy: Callable[[], bool]) -> None:
        self._board = board
        self._restart = restart
        self._busy = busy
        #: The update under way: its command and what it installs.
        self._update: tuple[str, Release] | None = None
        #: Logs on their way over HTTP, by command.
        self._bringing: dict[str, BringLog] = {}

    def configure(self, command: SetConfig | GetConfig, now_ms: int) -> None:
        board = self._board
        if isinstance(command, SetConfig):
            if command.version < board.config_version:
                raise Refused(CommandOutcome.INVALID, "old_version")
            refuses = board.faults.strikes(FaultKind.CONFIG_REFUSED)
            if refuses is not None or any(_is_bad(key, value) for key, value in command.values.items()):
                raise Refused(CommandOutcome.INVALID, "bad_value")
            board.config_version = command.version
            for key, value in command.values.items():
                if value is None:
                    board.config.pop(key, None)
                else:
                    board.config[key] = value
        board.record(ConfigReport(version=board.config_version, values=dict(board.config)), now_ms)

    def collect(self, command_id: str, command: CollectLogs, now_ms: int) -> bool:
        """True when the pieces are on their way as messages. Otherwise `brought` goes on with it.

        A cabinet with a credential brings them over HTTP (20), where they cost the broker no frame.
        """
        kept = self._board.sent_logs
        if command.request_id not in kept:
            kept[command.request_id] = self._pieces(command)
            while len(kept) > _KEPT_LOGS:
                del kept[next(iter(kept))]
        contents = kept[command.request_id]
        wanted = [index for index in command.indexes if index < len(contents)] or range(len(contents))
        pieces = tuple(
            LogPiece(index, index == len(contents) - 1, contents[index])
            for index in wanted
            if self._board.faults.strikes(FaultKind.LOST_LOG_CHUNK) is None
        )
        if self._board.station.claim is None:
            self._send(command.request_id, pieces, now_ms)
            return True
        self._board.memory.begin(command_id)
        wish = BringLog(command_id, command.request_id, pieces)
        self._bringing[command_id] = wish
        self._board.outputs.append(wish)
        return False

    def brought(self, command_id: str, left: tuple[int, ...], now_ms: int) -> bool:
        """The upload has ended: send what is `left` of it. False: a restart has ended it before."""
        wish = self._bringing.pop(command_id, None)
        if wish is None:
            return False
        self._send(wish.request_id, tuple(piece for piece in wish.pieces if piece.index in left), now_ms)
        return True

    def _send(self, request_id: str, pieces: tuple[LogPiece, ...], now_ms: int) -> None:
        for piece in pieces:
            chunk = LogChunk(request_id=request_id, index=piece.index, last=piece.last, content=piece.content)
            self._board.record(chunk, now_ms)

    def _pieces(self, command: CollectLogs) -> list[bytes]:
        since_ms = command.since_ms or 0
        lines = [line for line in self._board.log if int(line.partition(" ")[0]) >= since_ms]
        content = "".join(f"{line}\n" for line in lines).encode()
        if command.max_bytes is not None:
            content = content[-command.max_bytes :]
        size = self._board.tuning.log_chunk_bytes
        return [content[start : start + size] for start in range(0, max(len(content), 1), size)]

    def begin_update(self, command_id: str, command: UpdateFirmware, now_ms: int) -> bool:
        """True when the release runs already. Otherwise `fetched` goes on with it. Raises Refused."""
        board = self._board
        if board.trust is None:
            raise Refused(CommandOutcome.UNSUPPORTED, "no_root_of_trust")
        if self._update is not None or board.starting is not None:
            raise Refused(CommandOutcome.BUSY, "update_under_way")
        try:
            bundle = read_bundle(command.manifest)
            board.trust = follow_roots(board.trust, bundle.roots)
            board.dirty = True
            release = check_release(
                bundle,
                board.trust,
                hardware=board.tuning.hardware,
                version=board.firmware,
                now_ms=board.clock.server(now_ms) or now_ms,
            )
        except FirmwareRefused as refused:
            board.note(f"firmware refused: {refused}", now_ms)
            raise Refused(CommandOutcome.FAILED, refused.code) from refused
        if release.image.sha256 == board.trust.sha256:
            return True
        board.memory.begin(command_id)
        self._update = command_id, release
        self._progress("downloading", now_ms)
        if board.faults.strikes(FaultKind.UPDATE_HANGS) is None:
            board.outputs.append(Fetch(command_id=command_id, url=command.url, size=release.image.size))
        return False

    def fetched(self, command_id: str, size: int, sha256: str, now_ms: int) -> str | None:
        """The download has ended (`size` 0: it failed). Returns the code of a refusal; None: it starts next."""
        if self._update is None or self._update[0] != command_id:
            return None
        release = self._update[1]
        self._update = None
        if size == 0:
            self._progress("failed", now_ms, release.version)
            return "download_failed"
        board = self._board
        if board.faults.strikes(FaultKind.CORRUPT_IMAGE) is not None:
            sha256 = "00" * 32
        try:
            check_image(release.image, size, sha256)
        except FirmwareRefused as refused:
            self._progress("failed", now_ms, release.version)
            return refused.code
        self._progress("installing", now_ms, release.version)
        board.starting, board.dirty = release, True
        board.agenda.at(now_ms + _RESULT_FIRST_MS, Scope.FIRMWARE, self._start_when_quiet)
        return None

    def waits_for(self, command_id: str) -> bool:
        return self._update is not None and self._update[0] == command_id

    def abandon(self) -> None:
        self._update = None
        self._bringing.clear()

    def _start_when_quiet(self, now_ms: int) -> None:
        """No restart while a motor turns."""
        if self._busy():
            self._board.agenda.at(now_ms + _LOOK_AGAIN_MS, Scope.FIRMWARE, self._start_when_quiet)
            return
        self._restart(now_ms, ResetCause.UPDATE)

    def _progress(self, phase: str, now_ms: int, version: str | None = None) -> None:
        named = version or (self._update[1].version if self._update is not None else "")
        self._board.record(FirmwareProgress(version=named, phase=phase, progress_pct=0), now_ms)


def _is_bad(key: str, value: ConfigValue) -> bool:
    """Keys that it does not know it keeps, whatever their value (10.3)."""
    return key in KEYS and KEYS[key].fault(value) is not None
