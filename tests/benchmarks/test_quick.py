"""That the benchmarks run and count what they say; how fast is no business of a test."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks import (
    certificates,
    codecs,
    cost,
    fleet_ingest,
    history,
    ingest,
    machine,
    price,
    rental_rate,
    stream,
    telemetry,
    wire,
)
from benchmarks.results import Figure, percentile, ratio_of_pairs
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import SlotLocked, SlotUnlocked
from fleet.stations.models import Station
from fleet.telemetry import charts
from tests.databases import Database


def test_stream_is_real_and_of_its_size() -> None:
    published = list(stream.events(stations=3, first_seq=1, rounds=4))
    frames = [NATIVE.decode(topic, payload) for topic, payload in published]
    assert {len(payload) for _, payload in published} == {stream.FRAME_BYTES}
    assert [(frame.station, frame.seq) for frame in frames] == [
        (stream.code(station), seq) for seq in range(1, 5) for station in range(1, 4)
    ]
    assert {type(frame.message) for frame in frames} == {SlotLocked, SlotUnlocked}


def test_packets_have_the_lengths_that_mqtt_gives_them() -> None:
    # MQTT 3.1.1, 2.2.3: 127 is the last length of one byte.
    assert wire.packet(0x30, b"x" * 127)[:2] == b"\x30\x7f"
    assert wire.packet(0x30, b"x" * 128)[:3] == b"\x30\x80\x01"


def test_ratio_is_of_pairs_and_percentile_is_a_value_that_was_measured() -> None:
    assert ratio_of_pairs([1.0, 8.0, 3.0], [2.0, 8.0, 4.0]) == 0.75
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)


@pytest.mark.parametrize(("value", "at_least", "met"), [(0.5, True, True), (0.4, True, False), (0.4, False, True)])
def test_target_has_a_side(value: float, at_least: bool, met: bool) -> None:
    assert Figure("ratio", value, "", target=0.5, at_least=at_least).met is met


def test_ingest_stores_every_event_once() -> None:
    names = {figure.name: figure.value for figure in ingest.run(quick=True).figures}
    assert names["gateway against bare paho"] > 0


def test_telemetry_of_a_fleet_is_stored_once() -> None:
    names = {figure.name: figure.value for figure in fleet_ingest.run(quick=True).figures}
    assert names["gateway against bare paho"] > 0


def test_certificates_are_verified_and_refused() -> None:
    names = {figure.name: figure.value for figure in certificates.run(quick=True).figures}
    assert names["broker, certificates verified"] > 0


def test_telemetry_stores_every_row() -> None:
    names = {figure.name: figure.value for figure in telemetry.run(quick=True).figures}
    assert names["pipeline against raw COPY"] > 0


def test_prices_are_counted() -> None:
    assert all(figure.value > 0 for figure in price.run(quick=True).figures)


def test_every_rental_that_is_counted_was_charged() -> None:
    assert all(figure.value > 0 for figure in rental_rate.run(quick=True).figures)


def test_a_rental_is_counted_stage_by_stage() -> None:
    names = {figure.name: figure.value for figure in cost.run(quick=True).figures}
    # What it is today is in docs/benchmarks.md: this much more would have come unnoticed.
    assert 0 < names["round trips to PostgreSQL"] <= 18


def test_codecs_of_every_dialect_are_measured() -> None:
    names = [figure.name for figure in codecs.run(quick=True).figures if figure.value > 0]
    assert [name.split()[0] for name in names] == ["native", "native", "native", "native", "Volinks", "Relink"]


def test_charts_have_something_to_show(clean_database: Database) -> None:
    start = datetime(2026, 5, 4, tzinfo=UTC)
    history.load(clean_database.engine, 20, start)
    times = history.ask(clean_database.engine, 20, start, times=1)
    assert all(seconds > 0 for seconds in times.values())
    with Session(clean_database.engine) as session:
        day = {"start": start, "end": start + timedelta(days=1)}
        assert any(point.things for point in charts.fleet_temperature(session, "bank", **day))
        station = session.scalars(select(Station.id).limit(1)).one()
        chart = charts.slot_charge(session, station, start=start - timedelta(days=6), end=day["end"])
        assert len(chart.slots) == 2


def test_machine_has_limits() -> None:
    assert all(figure.value >= 0 for figure in machine.run(quick=True).figures)


def test_an_unknown_benchmark_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 2
    assert "no benchmark is called nonsense" in done.stderr
