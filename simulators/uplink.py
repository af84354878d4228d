"""A cabinet's side of the connection: boot gate, presence, replay, acknowledgements, heartbeats, reconnecting."""

from enum import StrEnum
from typing import Final

from firmware_protocol.commands import Ack, Resend, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Booted, Heartbeat, Inventory, JournalLost, Offline, Online, SlotTelemetry
from firmware_protocol.types import OfflineCause, ResetCause
from simulators.agenda import Scope
from simulators.board import Board
from simulators.faults import FaultKind
from simulators.outputs import Connect, Hangup

#: 2**tries stops growing here; the cap on the delay is reached long before.
_MAX_TRIES: Final = 16


class Phase(StrEnum):
    #: No power, or told to stay away from the network.
    IDLE = "idle"
    #: Until the next try.
    WAITING = "waiting"
    CONNECTING = "connecting"
    #: Connected and quiet until the welcome.
    GATED = "gated"
    WELCOMED = "welcomed"


class Uplink:
    """Methods take the true time; what is to be sent is appended to the board's outputs."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.phase = Phase.IDLE
        #: Told to stay offline: nothing reconnects before `resume`.
        self.held = False
        self._tries = 0
        self._booted_sent = 0
        self._heartbeat_ms = 0
        self._telemetry_ms = 0

    def connect_in(self, delay_ms: int, now_ms: int) -> None:
        """Try to connect after `delay_ms`, unless held offline."""
        if not self.held:
            self.phase = Phase.WAITING
            self._board.agenda.at(now_ms + delay_ms, Scope.FIRMWARE, self._connect)

    def opened(self, now_ms: int) -> None:
        """The session is up and subscribed."""
        if self.phase is not Phase.CONNECTING:
            return
        board = self._board
        self.phase = Phase.GATED
        board.note(f"connected epoch={board.epoch}", now_ms)
        board.send_session(Online(epoch=board.epoch), now_ms)
        self._send_booted(now_ms)

    def closed(self, now_ms: int) -> None:
        """The session ended, or did not come up. Tries again with full jitter."""
        if self.phase in {Phase.IDLE, Phase.WAITING}:
            return
        self._down()
        self._tries = min(self._tries + 1, _MAX_TRIES)
        tuning = self._board.tuning
        longest_s = min(tuning.backoff_cap_s, tuning.backoff_base_s * 2**self._tries)
        self.connect_in(int(self._board.rng.uniform(0, longest_s) * 1000), now_ms)

    def hang_up(self, *, clean: bool) -> None:
        """End the session from this side; nothing reconnects until `connect_in`."""
        if self.phase in {Phase.CONNECTING, Phase.GATED, Phase.WELCOMED}:
            self._board.outputs.append(Hangup(clean=clean))
        self._down()

    def hold(self, *, clean: bool) -> None:
        """Stay away from the network until `resume`."""
        self.held = True
        self.hang_up(clean=clean)

    def resume(self, now_ms: int) -> None:
        self.held = False
        if self.phase is Phase.IDLE and self._board.running:
            self.connect_in(0, now_ms)

    def shut_down(self, now_ms: int) -> None:
        """A planned end: the retained presence says so, and the will is not needed."""
        board = self._board
        if self.phase in {Phase.GATED, Phase.WELCOMED}:
            board.send_session(Offline(epoch=board.epoch, cause=OfflineCause.SHUTDOWN), now_ms)
        self.hold(clean=True)

    def welcome(self, welcome: Welcome, now_ms: int) -> None:
        """Open the gate, wait, or start over above the boot that the backend knows."""
        board = self._board
        if welcome.epoch != board.epoch or self.phase not in {Phase.GATED, Phase.WELCOMED}:
            return
        if self.phase is Phase.WELCOMED:
            self._set_periods(welcome, now_ms)
            return
        if welcome.epoch_floor >= board.epoch:
            # The counter was lost: the next session is numbered above all that the backend knows.
            board.epoch = welcome.epoch_floor
            self.hang_up(clean=True)
            self.connect_in(0, now_ms)
            return
        if welcome.retry_after_s is not None:
            # Half as long again at most: a fleet that was told to wait must not come back as one.
            wait_ms = int(welcome.retry_after_s * 1000 * board.rng.uniform(1, 1.5))
            self._booted_again_in(wait_ms, now_ms)
            return
        if welcome.boot_floor >= board.boot and board.reset_cause is not ResetCause.RECONNECT:
            self._climb_above(welcome.boot_floor, now_ms)
            return
        self._set_periods(welcome, now_ms)
        self._open_gate(now_ms)

    def acknowledge(self, ack: Ack) -> None:
        if self._board.faults.strikes(FaultKind.LOST_ACK):
            return
        if self._board.journal.acknowledge(ack.boot, ack.through):
            self._board.dirty = True

    def resend(self, resend: Resend, now_ms: int) -> None:
        board = self._board
        if self.phase is not Phase.WELCOMED:
            return
        held, gone = board.journal.answer(resend, board.boot, board.seq)
        for lost in gone:
            board.send_session(JournalLost(boot=lost.boot, first=lost.first, last=lost.last), now_ms)
        for entry in held:
            board.send_event(entry, now_ms, replayed=True)

    def _set_periods(self, welcome: Welcome, now_ms: int) -> None:
        tuning = self._board.tuning
        self._board.clock.synchronise(welcome.server_ms, now_ms)
        self._heartbeat_ms = int((tuning.heartbeat_s or welcome.heartbeat_s) * 1000)
        self._telemetry_ms = int((tuning.telemetry_s or welcome.telemetry_s) * 1000)

    def _connect(self, now_ms: int) -> None:
        board = self._board
        # The counter starts at the clock, so that a cabinet that lost its memory still counts upwards.
        board.epoch = max(board.epoch + 1, now_ms // 1000)
        board.dirty = True
        self.phase = Phase.CONNECTING
        will = board.session_frame(Offline(epoch=board.epoch, cause=OfflineCause.NETWORK), None)
        board.outputs.append(Connect(will=NATIVE.publish_up(will, board.transmitter.encoding)))

    def _send_booted(self, now_ms: int) -> None:
        board = self._board
        booted = Booted(
            epoch=board.epoch,
            firmware=board.firmware,
            hardware=board.tuning.hardware,
            slots=len(board.slots),
            reset_cause=board.reset_cause,
            config_version=board.config_version,
            credential=board.credential,
            journal=board.journal.ranges(),
        )
        board.send_session(booted, now_ms)
        self._booted_again_in(int(board.tuning.welcome_timeout_s * 1000 * board.rng.uniform(1, 2)), now_ms)

    def _booted_again_in(self, delay_ms: int, now_ms: int) -> None:
        """Replaces an earlier plan to repeat it."""
        self._booted_sent += 1
        turn = self._booted_sent

        def again(due_ms: int) -> None:
            if self.phase is Phase.GATED and turn == self._booted_sent:
                self._send_booted(due_ms)

        self._board.agenda.at(now_ms + delay_ms, Scope.LINK, again)

    def _climb_above(self, floor: int, now_ms: int) -> None:
        board = self._board
        board.journal.restamp(board.boot, floor + 1)
        board.boot = floor + 1
        board.dirty = True
        self._send_booted(now_ms)

    def _open_gate(self, now_ms: int) -> None:
        board = self._board
        self.phase = Phase.WELCOMED
        self._tries = 0
        board.welcomed = True
        board.prove_firmware(now_ms)
        board.reset_cause = ResetCause.RECONNECT
        board.send_lost(now_ms)
        for entry in board.journal:
            board.send_event(entry, now_ms, replayed=True)
        if board.inventory_due:
            board.inventory_due = False
            board.record(Inventory(slots=board.slots.inventory(now_ms)), now_ms)
        # A random phase: a fleet that came back together must not beat together.
        board.agenda.at(now_ms + board.rng.randrange(self._heartbeat_ms), Scope.LINK, self._heartbeat)
        board.agenda.at(now_ms + board.rng.randrange(self._telemetry_ms), Scope.LINK, self._telemetry)

    def _heartbeat(self, now_ms: int) -> None:
        board = self._board
        beat = Heartbeat(
            signal_dbm=board.rng.randint(-95, -60),
            mains=True,
            temperature_c=round(board.ambient_c + board.rng.uniform(3, 5), 1),
            uptime_s=max(0, now_ms - board.booted_ms) // 1000,
        )
        board.send_sample(beat, now_ms)
        board.agenda.at(now_ms + self._heartbeat_ms, Scope.LINK, self._heartbeat)

    def _telemetry(self, now_ms: int) -> None:
        board = self._board
        if samples := board.slots.samples(now_ms, board.ambient_c):
            board.send_sample(SlotTelemetry(slots=samples), now_ms)
        board.agenda.at(now_ms + self._telemetry_ms, Scope.LINK, self._telemetry)

    def _down(self) -> None:
        self.phase = Phase.IDLE
        self._board.link_down()
