"""Configuration, logs and firmware of a cabinet on a bench."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace

from firmware_protocol.commands import CollectLogs, EjectPowerBank, SetConfig, UpdateFirmware
from firmware_protocol.firmware import example, trust
from firmware_protocol.firmware.documents import Release, unsigned, write_bundle
from firmware_protocol.firmware.envelope import sign, write_envelope
from firmware_protocol.firmware.errors import FirmwareRefused
from firmware_protocol.messages import Booted, CommandResult, ConfigReport, FirmwareProgress, LogChunk
from firmware_protocol.types import CommandOutcome, ResetCause
from simulators.download import Downloaded, download
from simulators.faults import Fault, FaultKind
from simulators.options import SimulatorOptions
from simulators.outputs import Fetch
from simulators.tuning import Tuning
from tests.simulators.virtual import START_MS, Bench, only

DAY_MS = 86_400_000
IMAGE = b"new firmware" * 100
URL = "http://image"
TUNING = Tuning(eject_ms=(2000, 2000), trust=replace(example.TRUST, counter=3), log_chunk_bytes=40, hardware="sim-8")


class Updating(Bench):
    """Keeps what the cabinet wants to download."""

    def __init__(self, tuning: Tuning = TUNING) -> None:
        super().__init__(tuning)
        self.fetches: list[Fetch] = []

    def _one(self, output: object) -> None:
        if isinstance(output, Fetch):
            self.fetches.append(output)
        else:
            super()._one(output)  # type: ignore[arg-type]  # the rest of Output

    def offer(self, release: Release | None = None, *, number: int = 1) -> None:
        envelope = unsigned(release or RELEASE)
        for key in example.SIGNERS[:2]:
            envelope = sign(envelope, key)
        self.command(UpdateFirmware(manifest=write_bundle((), envelope), url=URL), number=number)

    def fetched(self, image: bytes = IMAGE) -> None:
        fetch = self.fetches[-1]
        self.cabinet.fetched(fetch.command_id, len(image), trust.digest(image), self.now_ms)
        self.run(0)

    def restarted(self) -> Booted:
        """Let it restart; its `booted`, after which it is welcomed."""
        self.run(10_000)
        booted = self.booted()
        self.welcome()
        return booted


RELEASE = Release(
    version="1.1.0",
    counter=4,
    hardware=("sim-8",),
    issued_ms=START_MS - DAY_MS,
    expires_ms=START_MS + DAY_MS,
    image=replace(example.RELEASE.image, size=len(IMAGE), sha256=trust.digest(IMAGE)),
    min_version="1.0",
)


def result(bench: Bench) -> CommandResult:
    return only(CommandResult, bench.events())


def test_a_release_is_verified_installed_and_proven() -> None:
    bench = Updating()
    bench.ready()
    bench.offer()
    assert (bench.fetches[0].url, bench.fetches[0].size) == (URL, len(IMAGE))
    assert only(FirmwareProgress, bench.events()).phase == "downloading"
    bench.fetched()
    progress, answer = bench.events()
    assert isinstance(progress, FirmwareProgress)
    assert isinstance(answer, CommandResult)
    assert (progress.phase, answer.outcome) == ("installing", CommandOutcome.SUCCEEDED)
    booted = bench.restarted()
    assert (booted.firmware, booted.reset_cause) == ("1.1.0", ResetCause.UPDATE)
    kept = bench.cabinet.board.trust
    assert kept is not None
    assert (kept.counter, kept.sha256) == (4, RELEASE.image.sha256)
    bench.events()
    bench.offer(number=2)
    assert result(bench).outcome is CommandOutcome.SUCCEEDED  # it runs already
    assert len(bench.fetches) == 1
    bench.offer(replace(RELEASE, counter=3, version="1.0.9"), number=3)
    assert result(bench).code == "rollback" or len(bench.fetches) == 1


@pytest.mark.parametrize(
    ("release", "code"),
    [
        (replace(RELEASE, counter=2), "rollback"),
        (replace(RELEASE, hardware=("CAB12",)), "wrong_hardware"),
        (replace(RELEASE, expires_ms=START_MS), "expired"),
        (replace(RELEASE, min_version="1.0.5"), "version_too_old"),
    ],
)
def test_what_does_not_suit_is_refused_and_nothing_is_downloaded(release: Release, code: str) -> None:
    bench = Updating()
    bench.ready()
    bench.offer(release)
    answer = result(bench)
    assert (answer.outcome, answer.code) == (CommandOutcome.FAILED, code)
    assert bench.fetches == []


def test_a_bundle_of_rubbish_is_refused() -> None:
    bench = Updating()
    bench.ready()
    bench.command(UpdateFirmware(manifest=b"{}", url=URL))
    assert result(bench).code == "bad_manifest"


def test_another_image_is_not_installed() -> None:
    bench = Updating()
    bench.ready()
    bench.offer()
    bench.fetched(IMAGE + b"!")
    assert result(bench).code == "wrong_image"
    bench.run(10_000)
    assert bench.cabinet.board.boot == 1
    bench.offer(number=2)
    bench.fetched(b"")
    assert result(bench).code == "download_failed"


def test_a_cabinet_without_root_of_trust_takes_no_update() -> None:
    bench = Updating(Tuning())
    bench.ready()
    bench.offer()
    assert result(bench).outcome is CommandOutcome.UNSUPPORTED


def test_it_does_not_restart_while_a_motor_turns() -> None:
    bench = Updating()
    bench.ready()
    bench.offer()
    slot, _ = bench.occupied[0]
    bench.run(1000)
    bench.command(EjectPowerBank(slot=slot), number=9)
    bench.fetched()
    bench.run(1800)
    assert bench.cabinet.board.boot == 1
    assert bench.restarted().firmware == "1.1.0"
    assert slot in bench.empty


def test_a_firmware_that_does_not_come_up_gives_way_to_the_old_one() -> None:
    bench = Updating()
    bench.ready()
    bench.cabinet.add_fault(Fault(kind=FaultKind.UPDATE_ROLLS_BACK, count=1), bench.now_ms)
    bench.offer()
    bench.fetched()
    assert bench.restarted().firmware == "1.0.0"
    kept = bench.cabinet.board.trust
    assert kept is not None
    assert kept.counter == 3


def test_a_restart_in_the_middle_of_an_update_ends_it() -> None:
    bench = Updating()
    bench.ready()
    bench.offer()
    bench.cabinet.restart(bench.now_ms)
    bench.restarted()
    assert result(bench).code == "interrupted"
    bench.fetched()
    assert bench.events() == []


def test_configuration_survives_a_restart_and_null_gives_a_key_back() -> None:
    bench = Bench().ready()
    bench.command(SetConfig(version=2, values={"volume_pct": 10, "language": "de"}))
    bench.command(SetConfig(version=3, values={"volume_pct": None}), number=2)
    report = [each for each in bench.events() if isinstance(each, ConfigReport)][-1]
    assert (report.version, report.values) == (3, {"language": "de"})
    bench.cabinet.restart(bench.now_ms)
    bench.run(10_000)
    assert bench.booted().config_version == 3


@pytest.mark.parametrize("values", [{"volume_pct": 101}, {"led_brightness_pct": True}])
def test_a_value_that_makes_no_sense_changes_nothing(values: dict[str, int]) -> None:
    bench = Bench().ready()
    bench.command(SetConfig(version=2, values={"language": "de", **values}))
    assert (result(bench).outcome, bench.cabinet.board.config) == (CommandOutcome.INVALID, {})


def test_a_log_comes_in_pieces_and_pieces_come_again() -> None:
    bench = Bench(TUNING).ready()
    for number in range(20):
        bench.cabinet.board.note(f"line {number}", bench.now_ms)
    bench.cabinet.add_fault(Fault(kind=FaultKind.LOST_LOG_CHUNK, count=1), bench.now_ms)
    bench.command(CollectLogs(request_id="log-1"))
    pieces = [each for each in bench.events() if isinstance(each, LogChunk)]
    assert [piece.index for piece in pieces] == list(range(1, len(pieces) + 1))
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    bench.command(CollectLogs(request_id="log-1", indexes=(0, 2)), number=2)
    again = [each for each in bench.events() if isinstance(each, LogChunk)]
    assert [piece.index for piece in again] == [0, 2]
    assert again[1] == pieces[1]
    bench.command(CollectLogs(request_id="log-2", max_bytes=10), number=3)
    assert len(only(LogChunk, bench.events()).content) == 10


@contextmanager
def serving(answers: list[tuple[int, dict[str, str], bytes]]) -> Iterator[tuple[str, list[str | None]]]:
    """An HTTP server that gives these answers in turn; a body shorter than its Content-Length is a break."""
    ranges: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ranges.append(self.headers.get("Range"))
            status, headers, body = answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/image", ranges
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_broken_download_goes_on_where_it_was() -> None:
    whole = {"ETag": '"a"', "Content-Length": str(len(IMAGE))}
    rest = {"ETag": '"a"', "Content-Length": str(len(IMAGE) - 500)}
    with serving([(503, {"Retry-After": "0"}, b""), (200, whole, IMAGE[:500]), (206, rest, IMAGE[500:])]) as (
        url,
        asked,
    ):
        assert download(url, len(IMAGE)) == Downloaded(len(IMAGE), trust.digest(IMAGE))
    assert asked == [None, None, "bytes=500-"]


def test_a_download_that_is_refused_or_endless_ends() -> None:
    with serving([(403, {}, b"")]) as (url, _):
        assert download(url, 10) == Downloaded(0, "")
    with serving([(200, {"Content-Length": "5000"}, b"x" * 5000)]) as (url, _):
        assert download(url, 10).size > 10


def test_a_fleet_is_made_with_the_root_it_is_given(tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(write_envelope(example.ROOT))
    assert SimulatorOptions(firmware_root=root).tuning().trust == trust.Trust(root=example.TRUST.root)
    assert SimulatorOptions().tuning().trust is None
    root.write_bytes(b"{}")
    with pytest.raises(FirmwareRefused):
        SimulatorOptions(firmware_root=root).tuning()
