from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy.orm import Session

from firmware_protocol.firmware import trust
from firmware_protocol.firmware.documents import read_bundle
from firmware_protocol.firmware.trust import Trust
from fleet.common.blobs import BlobNotFound, FolderBlobs, WrongContent
from fleet.devices.firmware import releases
from fleet.devices.firmware.errors import LinkRefused, NoRootOfTrust, ReleaseNotReady, SignatureRefused
from fleet.devices.firmware.models import FirmwareRelease, ReleaseState
from tests.fleet.devices.firmware.world import HARDWARE, IMAGE, OLD, ROOT, A, B, C, Scene, a_release, signed

SECRET = b"s" * 64


def test_only_what_a_cabinet_would_take_is_taken(session: Session, now: datetime) -> None:
    with pytest.raises(NoRootOfTrust):
        releases.add_release(session, signed(a_release(now)), now)
    scene = Scene(session, now)
    for envelope in (b"{}", signed(a_release(now), A), signed(ROOT, A, B)):
        with pytest.raises(SignatureRefused):
            releases.add_release(session, envelope, now)
    with pytest.raises(SignatureRefused, match="expired"):
        releases.add_release(session, signed(a_release(now, expires_ms=round(now.timestamp() * 1000))), now)
    added = scene.release()
    assert releases.add_release(session, signed(a_release(now), B, C), now).id == added.id


def test_roots_follow_each_other_and_reach_the_cabinets(session: Session, now: datetime) -> None:
    scene = Scene(session, now)
    first = releases.trusted_root(session)
    second = replace(first, version=2)
    for envelope in (signed(replace(first, version=3)), signed(second, A), b"x"):
        with pytest.raises(SignatureRefused):
            releases.add_root(session, envelope, now)
    assert releases.add_root(session, signed(second, B, C), now).version == 2
    assert releases.add_root(session, signed(second, B, C), now).version == 2
    assert [row.version for row in releases.roots(session)] == [1, 2]
    bundle = read_bundle(releases.bundle_of(session, scene.release()))
    followed = trust.follow_roots(Trust(root=first), bundle.roots)
    ms = round(now.timestamp() * 1000)
    assert trust.check_release(bundle, followed, hardware=HARDWARE, version=OLD, now_ms=ms).counter == 7


def test_an_image_counts_when_it_is_the_signed_one(session: Session, now: datetime, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    Scene(session, now)
    release = releases.add_release(session, signed(a_release(now)), now)
    with pytest.raises(ReleaseNotReady):
        releases.image_arrived(session, release.id, blobs)
    key = releases.image_key(release)
    for wrong in (IMAGE + b"!", IMAGE[:-1] + b"!", b""):
        with pytest.raises(WrongContent):
            bring(blobs, release, wrong)
    assert not blobs.exists(key)
    assert list((tmp_path / "firmware").iterdir()) == []
    bring(blobs, release, IMAGE)
    assert releases.image_arrived(session, release.id, blobs).state is ReleaseState.READY
    with blobs.open(key) as file:
        file.seek(5)
        assert file.read() == IMAGE[5:]
    assert releases.withdraw(session, release.id).state is ReleaseState.WITHDRAWN
    assert releases.why_not_ready(release, now) == "it was withdrawn"


def bring(blobs: FolderBlobs, release: FirmwareRelease, image: bytes) -> None:
    with blobs.incoming(releases.image_key(release)) as incoming:
        for start in range(0, len(image), 1000):
            incoming.write(image[start : start + 1000])
        incoming.keep(size=release.size, sha256=release.sha256)


@pytest.mark.parametrize("key", ["../secrets", "firmware/../../x", "firmware/..", "firmware", "/etc/passwd", "a/b/c"])
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(BlobNotFound):
        blobs.open(key)
    with pytest.raises(BlobNotFound), blobs.incoming(key):
        pass


def test_a_link_is_for_one_release_one_station_and_a_time(now: datetime) -> None:
    until = now + timedelta(hours=1)
    made = releases.link(SECRET, "http://api", 3, "A", until)
    signature = made.rpartition("=")[2]
    expires = round(until.timestamp())
    assert made == f"http://api/api/v1/device/firmware/3/A?expires={expires}&signature={signature}"
    releases.check_link(SECRET, 3, "A", expires=expires, signature=signature, now=now)
    for release, station, ends, secret, at in (
        (4, "A", expires, SECRET, now),
        (3, "B", expires, SECRET, now),
        (3, "A", expires + 1, SECRET, now),
        (3, "A", expires, b"t" * 64, now),
        (3, "A", expires, SECRET, until),
    ):
        with pytest.raises(LinkRefused):
            releases.check_link(secret, release, station, expires=ends, signature=signature, now=at)
