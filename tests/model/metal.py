"""Cabinets, the network between them and us, and the clock."""

from datetime import timedelta
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.machine import Machine, dies, moods, numbers, places


class Metal(Machine):
    @rule(dies=dies)
    def publish(self, dies: int | None) -> None:
        self.publish_orders(dies)

    @rule(place=places, mood=moods)
    def act(self, place: int, mood: str) -> None:
        cabinet = self.cabinet(place)
        if cabinet.orders:
            self.watch_hands(lambda: cabinet.act(self.moment(), mood))

    @precondition(lambda self: any(cabinet.jammed for cabinet in self.town.cabinets.values()))
    @rule(which=numbers)
    def fall_out(self, which: int) -> None:
        jammed = [(c, command) for c in self.town.cabinets.values() for command in c.jammed]
        cabinet, command = jammed[which % len(jammed)]
        if cabinet.jammed[command] in self.backend.busy_slots(cabinet.code):
            return
        self.watch_hands(lambda: cabinet.fall_out(command, self.moment()))

    @rule(place=places, told=numbers, again=st.integers(0, 3), seed=numbers, dies=dies)
    def deliver(self, place: int, told: int, again: int, seed: int, dies: int | None) -> None:
        """Some of what waits and some of what was told before, shuffled, in one batch."""
        cabinet, rng = self.cabinet(place), Random(seed)
        count = told % (len(cabinet.waiting) + 1)
        batch, cabinet.waiting = cabinet.waiting[:count], cabinet.waiting[count:]
        batch += rng.choices(cabinet.said, k=again) if cabinet.said else []
        cabinet.said += batch
        rng.shuffle(batch)
        if batch:
            self.backend.ingest([cabinet.frame(event, self.backend.now) for event in batch], dies)

    @rule(place=places, told=st.booleans())
    def look_around(self, place: int, *, told: bool) -> None:
        cabinet = self.cabinet(place)
        cabinet.inventory(self.moment())
        if told:
            self.tell(cabinet)

    @rule(place=places)
    def forget(self, place: int) -> None:
        lost = self.cabinet(place).forget(self.backend.now)
        if lost is not None:
            self.backend.ingest([lost])

    @rule(
        seconds=st.sampled_from([1, 5, 20, 59, 61, 600, 1800, 7200, 14_400, 50_400, 86_400]),
        heard=st.booleans(),
        dies=dies,
    )
    def wait(self, seconds: int, heard: bool, dies: int | None) -> None:  # hypothesis names it
        self.backend.now += timedelta(seconds=seconds)
        if heard:
            self.backend.heard(self.town.station_ids)
        self._reservations_end(heard=heard)
        self.backend.sweep(dies)
        self.collect(dies)

    def _reservations_end(self, *, heard: bool) -> None:
        """Nobody came, although the bank could have been fetched all the time: that costs the fee."""
        for kept in self.town.kept.values():
            if kept.over or kept.settled or kept.until > self.backend.now:
                continue
            kept.settled = True
            stayed = self.town.place_of(kept.serial) == (kept.code, kept.slot)
            if heard and stayed and not any(serial == kept.serial and at > kept.at for serial, at in self.town.went):
                kept.charge = kept.fee
