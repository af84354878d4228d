"""The last step before the network, where frames can be doubled, shuffled, swallowed and surrounded with noise."""

from random import Random

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.encoding import Encoding
from firmware_protocol.messages import UpFrame
from firmware_protocol.topics import UpKind, up
from simulators.faults import FaultKind, FaultSet
from simulators.outputs import Output


class Transmitter:
    """Appends to `outputs` what is to be published."""

    def __init__(self, encoding: Encoding, rng: Random, faults: FaultSet, outputs: list[Output]) -> None:
        self.encoding = encoding
        self._rng = rng
        self._faults = faults
        self._outputs = outputs
        self._held: list[Published] = []

    @property
    def holding(self) -> bool:
        """Events wait to be shuffled; somebody must call `release` before long."""
        return bool(self._held)

    def frame(self, frame: UpFrame) -> None:
        """Session messages and samples."""
        self._emit(NATIVE.publish_up(frame, self.encoding), frame.station)

    def event(self, frame: UpFrame) -> None:
        """An event, which faults may drop or hold back."""
        if not frame.replayed and self._faults.strikes(FaultKind.DROP_EVENTS):
            return
        message = NATIVE.publish_up(frame, self.encoding)
        reorder = self._faults.get(FaultKind.REORDER)
        if reorder is None or not self._faults.strikes(FaultKind.REORDER):
            self._emit(message, frame.station)
            return
        self._held.append(message)
        if len(self._held) >= reorder.window:
            self.release(frame.station)

    def release(self, station: str) -> None:
        """Let go of what was held, in another order than it came."""
        held, self._held = self._held, []
        self._rng.shuffle(held)
        for message in held:
            self._emit(message, station)

    def reset(self) -> None:
        """The connection is gone, and with it what was held; the journal still has it."""
        self._held = []

    def _emit(self, message: Published, station: str) -> None:
        if self._faults.strikes(FaultKind.GARBAGE):
            self._outputs.append(self._noise(station))
        self._outputs.append(message)
        if self._faults.strikes(FaultKind.DUPLICATE):
            self._outputs.append(message)

    def _noise(self, station: str) -> Published:
        # Never on the state topic: that one is retained, and would outlive the fault.
        kind = self._rng.choice((UpKind.EVENT, UpKind.TELEMETRY, UpKind.BOOT))
        payload = self._rng.randbytes(self._rng.randint(0, 200))
        return Published(topic=up(station, kind), payload=payload, qos=1, content_type=self.encoding.content_type)
