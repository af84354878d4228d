"""The small parts: buffer, backoff, watchdog."""

from datetime import UTC, datetime
from random import Random
from threading import Event, Thread
from time import monotonic

from device_gateway.backoff import Backoff
from device_gateway.buffer import Buffer
from device_gateway.received import Received
from device_gateway.reception import MOST_BYTES, Reception
from device_gateway.watchdog import Watchdog


def message(number: int) -> Received:
    return Received("t", b"", None, 1, number, 1, float(number))


def test_a_full_buffer_drops_and_counts() -> None:
    buffer = Buffer(limit=2)
    for number in range(5):
        buffer.append(message(number))
    assert ([each.mid for each in buffer.take(10, 0)], buffer.dropped) == ([0, 1], 3)


def test_an_idle_buffer_hands_over_the_first_message_at_once() -> None:
    buffer, taken, ready = Buffer(), list[Received](), Event()

    def consume() -> None:
        ready.set()
        taken.extend(buffer.take(100, 30))

    thread = Thread(target=consume)
    thread.start()
    ready.wait(5)
    begun = monotonic()
    buffer.append(message(1))
    thread.join(5)
    assert [each.mid for each in taken] == [1]
    assert monotonic() - begun < 1


def test_a_buffer_gives_no_more_than_asked_and_keeps_the_order() -> None:
    buffer = Buffer()
    for number in range(5):
        buffer.append(message(number))
    assert buffer.oldest_at() == 0.0
    assert [each.mid for each in buffer.take(3, 0)] == [0, 1, 2]
    assert len(buffer) == 2
    assert buffer.oldest_at() == 0.0, "taken and not stored"
    buffer.stored()
    assert buffer.oldest_at() == 3.0
    assert [each.mid for each in buffer.take(3, 0)] == [3, 4]
    buffer.stored()
    assert buffer.oldest_at() is None


def test_who_gathers_has_the_first_and_those_that_follow_it() -> None:
    buffer, taken, ready = Buffer(), list[Received](), Event()

    def consume() -> None:
        ready.set()
        taken.extend(buffer.take(5, 30, gather_s=30))

    thread = Thread(target=consume)
    thread.start()
    ready.wait(5)
    for number in range(7):
        buffer.append(message(number))
    thread.join(10)
    assert not thread.is_alive(), "a full batch waits for nobody"
    assert [each.mid for each in taken] == [0, 1, 2, 3, 4]
    assert len(buffer) == 2


def test_who_gathers_takes_what_there_is_when_time_is_up_or_woken() -> None:
    buffer, taken = Buffer(), list[Received]()
    buffer.append(message(0))
    assert [each.mid for each in buffer.take(5, 30, gather_s=0.01)] == [0]

    thread = Thread(target=lambda: taken.extend(buffer.take(5, 30, gather_s=30)))
    buffer.append(message(1))
    thread.start()
    while thread.is_alive():  # a wake before it waits is forgotten
        buffer.wake()
        thread.join(0.01)
    assert [each.mid for each in taken] == [1]


def event(payload: bytes, qos: int = 1) -> Received:
    return Received("vb/v1/VB-1/up/event", payload, None, qos, 1, 1, 0.0)


def test_what_waits_is_bounded_by_number_and_by_bytes() -> None:
    reception = Reception(limit=10)
    for _ in range(9):
        reception.deliver(event(b""))
    assert not reception.is_full()
    reception.deliver(event(b""))
    assert reception.is_full()
    events = reception.events
    events.take(1, 0)
    assert reception.is_full(), "once full, until an eighth of it is stored"
    events.take(1, 0)
    assert not reception.is_full()
    reception.deliver(event(bytes(MOST_BYTES)))
    assert (len(events), reception.is_full()) == (9, True)


def test_a_full_reception_drops_what_may_be_lost_and_keeps_what_comes_again_only_once() -> None:
    reception = Reception(limit=2)
    for _ in range(5):
        reception.deliver(event(b"acknowledged later"))
        reception.deliver(event(b"sent once", qos=0))
        reception.deliver(event(b"sample")._replace(topic="vb/v1/VB-1/up/telemetry"))
    assert len(reception.events) == 6
    assert (len(reception.samples), reception.samples.dropped) == (2, 3)
    assert reception.dropped == 7


def test_what_is_taken_counts_as_waiting_until_it_is_stored() -> None:
    reception = Reception(limit=10)
    assert reception.events_through() is None
    for number in range(3):
        reception.deliver(event(b"")._replace(at=float(number)))
    reception.events.take(2, 0)
    assert reception.events_through() == datetime.fromtimestamp(0, UTC)
    reception.events.stored()
    assert reception.events_through() == datetime.fromtimestamp(2, UTC)


def test_samples_are_bounded_by_bytes_too() -> None:
    buffer = Buffer(limit=10, most_bytes=100)
    for _ in range(3):
        buffer.append(event(bytes(60)))
    assert (len(buffer), buffer.size, buffer.dropped) == (2, 120, 1)
    buffer.take(1, 0)
    buffer.append(event(bytes(60)))
    assert (buffer.size, buffer.dropped) == (120, 1)


def test_waiting_grows_with_full_jitter_up_to_its_limit() -> None:
    backoff = Backoff(first_s=1, longest_s=8, rng=Random(1))
    waits = [backoff.next_s() for _ in range(200)]
    assert all(0 <= wait <= 8 for wait in waits)
    assert waits[0] <= 1
    assert max(waits) > 7
    assert min(waits[5:]) < 1
    backoff.reset()
    assert backoff.next_s() <= 1


class Thing:
    def __init__(self, *, alive: bool, beat: float) -> None:
        self.beat = beat
        self._alive = alive

    def is_alive(self) -> bool:
        return self._alive


def complaint(thing: Thing) -> str | None:
    reasons: list[str] = []
    watchdog = Watchdog({"x": thing}, hangs_after_s=5, look_every_s=0.01, end=reasons.append)
    watchdog.start()
    watchdog.join(0.5)
    watchdog.rest()
    watchdog.join(5)
    return reasons[0] if reasons else None


def test_the_watchdog_ends_the_process_for_the_dead_and_the_hanging_only() -> None:
    assert complaint(Thing(alive=False, beat=monotonic())) == "thread x has died"
    assert complaint(Thing(alive=True, beat=monotonic() - 10)) == "thread x has hung for 10 s"
    assert complaint(Thing(alive=True, beat=monotonic())) is None
