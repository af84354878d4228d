"""`python -m benchmarks.codecs`: frames decoded and encoded again by one core, for each dialect.

Native frames are telemetry of 24 slots. The yardstick for JSON is msgspec reading the same bytes into plain values and
writing them: no types, no bounds, no checks. For CBOR it is cbor2 doing the same. Vendors' frames are the golden ones
of their tests (inventories and what banks cause); nothing is comparable to them, so they are rates only.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cbor2
import msgspec

from benchmarks.results import Report, ratio_of_pairs, save, show
from benchmarks.telemetry import frames
from benchmarks.telemetry_stream import SLOTS
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.dialects.relink import codec as relink
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.volinks import codec as volinks
from firmware_protocol.encoding import Encoding

VECTORS: Final = Path(__file__).resolve().parents[1] / "tests/firmware_protocol/vectors"
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


def rate(work: Callable[[], int], seconds: float) -> float:
    """Frames a second; `work` returns how many it did."""
    done, ends = 0, (began := time.perf_counter()) + seconds
    while time.perf_counter() < ends:
        done += work()
    return done / (time.perf_counter() - began)


def native(encoding: Encoding) -> tuple[Callable[[], int], Callable[[], int]]:
    """Our codec and the bare one over the same 100 frames."""
    received = frames(100, 1, 1, _START)
    decoded = [NATIVE.decode(each.topic, each.payload) for each in received]
    payloads = [(each.topic, NATIVE.encode_up(frame, encoding)) for each, frame in zip(received, decoded, strict=True)]

    def ours() -> int:
        for topic, payload in payloads:
            NATIVE.encode_up(NATIVE.decode(topic, payload), encoding)
        return len(payloads)

    def bare() -> int:
        loads: Callable[[bytes], Any] = msgspec.json.decode if encoding is Encoding.JSON else cbor2.loads
        dumps: Callable[[Any], bytes] = msgspec.json.encode if encoding is Encoding.JSON else cbor2.dumps
        for _, payload in payloads:
            dumps(loads(payload))
        return len(payloads)

    return ours, bare


def accepted(name: str) -> list[dict[str, Any]]:
    vectors = json.loads((VECTORS / f"{name}.json").read_text())
    return [
        each
        for each in vectors
        if each.get("expect") == "accept" and each.get("direction") == "uplink" and "hex" in each
    ]


def volinks_frames() -> Callable[[], int]:
    payloads = [bytes.fromhex(each["hex"]) for each in accepted("volinks")]

    def work() -> int:
        for payload in payloads:
            volinks.encode_up(volinks.decode_up(payload))
        return len(payloads)

    work()
    return work


def relink_frames() -> Callable[[], int]:
    found = [(bytes.fromhex(each["hex"]), Generation(each["generation"])) for each in accepted("relink")]

    def work() -> int:
        for payload, generation in found:
            relink.encode_up(relink.decode_up(open_packet(payload), generation), generation)
        return len(found)

    work()
    return work


def _against_bare(report: Report, encoding: Encoding, pairs: int, seconds: float) -> None:
    ours, bare = native(encoding)
    measured = [(rate(ours, seconds), rate(bare, seconds)) for _ in range(pairs)]
    best = max(each[0] for each in measured)
    name = f"native {encoding.name}, {SLOTS} slots"
    report.add(name, best, "frames/s", note=f"{best * SLOTS:,.0f} slots/s; decoded, checked, encoded again")
    report.add(f"{name}, against bare decoding", _ratio(measured), "", note="bare: plain values, nothing checked")


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return ratio_of_pairs([ours for ours, _ in pairs], [bare for _, bare in pairs])


def run(*, quick: bool) -> Report:
    seconds, pairs = (0.05, 1) if quick else (1.0, 3)
    report = Report("codecs", "frames decoded and encoded again, one core", quick)
    for encoding in Encoding:
        _against_bare(report, encoding, pairs, seconds)
    for name, work in (("Volinks", volinks_frames()), ("Relink", relink_frames())):
        report.add(name, max(rate(work, seconds) for _ in range(pairs)), "frames/s", note="golden frames of its tests")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codecs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
