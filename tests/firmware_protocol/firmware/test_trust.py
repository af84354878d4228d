"""A cabinet's verifier: what it takes, and every way in which it must not be fooled."""

from datetime import timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from firmware_protocol.firmware import example, trust
from firmware_protocol.firmware.documents import (
    RELEASE_TYPE,
    Bundle,
    Release,
    Role,
    Root,
    canonical,
    read_bundle,
    read_root,
    unsigned,
    version_order,
    write_bundle,
)
from firmware_protocol.firmware.envelope import Envelope, key_id, raw_key, read_envelope, sign, write_envelope
from firmware_protocol.firmware.errors import (
    BadDocument,
    Expired,
    FirmwareRefused,
    NotEnoughSignatures,
    Rollback,
    RootGap,
    VersionTooOld,
    WrongHardware,
    WrongImage,
)
from firmware_protocol.firmware.trust import Trust
from firmware_protocol.limits import MAX_MANIFEST_BYTES

NOW = example.NOW_MS
DAY = int(timedelta(days=1).total_seconds() * 1000)
A, B, C = example.SIGNERS
D, E, F = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (4, 5, 6))


def role(threshold: int, *keys: Ed25519PrivateKey) -> Role:
    return Role(keyids=tuple(key_id(key.public_key()) for key in keys), threshold=threshold)


def root(
    version: int, roots: Role, releases: Role, *keys: Ed25519PrivateKey, expires_ms: int = NOW + 999 * DAY
) -> Root:
    public = {key_id(key.public_key()): raw_key(key.public_key()).hex() for key in keys}
    return Root(version=version, expires_ms=expires_ms, keys=public, root=roots, releases=releases)


def signed(document: Root | Release, *keys: Ed25519PrivateKey) -> Envelope:
    envelope = unsigned(document)
    for key in keys:
        envelope = sign(envelope, key)
    return envelope


def judge(
    release: Envelope,
    kept: Trust = example.TRUST,
    *roots: Envelope,
    hardware: str = example.HARDWARE,
    version: str = example.RUNNING,
    now_ms: int = NOW,
) -> Release:
    """As a cabinet does with the bytes of a bundle."""
    bundle = read_bundle(msgspec.json.encode(Bundle(roots=roots, release=release)))
    followed = trust.follow_roots(kept, bundle.roots)
    return trust.check_release(bundle, followed, hardware=hardware, version=version, now_ms=now_ms)


FIRST = root(1, role(2, A, B, C), role(2, A, B, C), A, B, C)
SECOND = root(2, role(2, A, B, D), role(1, D, E), A, B, D, E)
THIRD = root(3, role(1, D), role(1, F), D, F)


def test_the_worked_example_is_accepted() -> None:
    assert judge(example.SIGNED_RELEASE) == example.RELEASE
    trust.check_image(example.RELEASE.image, len(example.IMAGE), trust.digest(example.IMAGE))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"hardware": "CAB12-rev1"}, WrongHardware),
        ({"version": "1.9.0"}, VersionTooOld),
        ({"version": "nightly"}, VersionTooOld),
        ({"now_ms": example.RELEASE.expires_ms}, Expired),
        ({"now_ms": read_root(example.ROOT).expires_ms}, Expired),
        ({"kept": replace(example.TRUST, counter=13)}, Rollback),
        ({"kept": replace(example.TRUST, counter=12)}, Rollback),
    ],
)
def test_what_does_not_suit_this_cabinet_is_refused(how: dict[str, object], error: type[FirmwareRefused]) -> None:
    with pytest.raises(error):
        judge(example.SIGNED_RELEASE, **how)  # type: ignore[arg-type]  # of mixed types on purpose


def test_the_release_that_runs_may_come_again() -> None:
    kept = trust.installed(example.TRUST, example.RELEASE, NOW)
    assert judge(example.SIGNED_RELEASE, kept) == example.RELEASE


def test_a_threshold_counts_different_keys_of_the_role() -> None:
    release = example.RELEASE
    for envelope in (
        signed(release),
        signed(release, A),
        signed(release, A, D, E),
        msgspec.structs.replace(signed(release, A), signatures=signed(release, A).signatures * 2),
    ):
        with pytest.raises(NotEnoughSignatures):
            judge(envelope)
    assert judge(signed(release, C, D, B)) == release


def test_signatures_of_another_release_do_not_count() -> None:
    other = signed(replace(example.RELEASE, counter=99), A, B)
    recombined = msgspec.structs.replace(unsigned(example.RELEASE), signatures=other.signatures)
    with pytest.raises(NotEnoughSignatures):
        judge(recombined)


def test_a_root_is_never_a_release() -> None:
    with pytest.raises(BadDocument, match="expected"):
        judge(signed(FIRST, A, B))
    retyped = msgspec.structs.replace(signed(FIRST, A, B), payload_type=RELEASE_TYPE)
    with pytest.raises(NotEnoughSignatures):
        judge(retyped)


@pytest.mark.parametrize("index", range(0, len(example.SIGNED_RELEASE.payload), 7))
def test_a_changed_bit_is_noticed(index: int) -> None:
    payload = bytearray(example.SIGNED_RELEASE.payload)
    payload[index] ^= 1
    with pytest.raises(NotEnoughSignatures):
        judge(msgspec.structs.replace(example.SIGNED_RELEASE, payload=bytes(payload)))


def test_only_the_canonical_form_is_taken_even_when_it_is_signed() -> None:
    plain = canonical(example.RELEASE)
    for payload in (
        plain + b"\n",
        plain.replace(b'"counter":12', b'"counter":11,"counter":12'),
        b'{"x":1,' + plain[1:],
    ):
        envelope = sign(sign(Envelope(payload_type=RELEASE_TYPE, payload=payload), A), B)
        with pytest.raises(BadDocument):
            judge(envelope)


def test_a_clock_that_was_set_back_does_not_revive_what_expired() -> None:
    later = replace(example.RELEASE, issued_ms=NOW + 200 * DAY, expires_ms=NOW + 300 * DAY)
    kept = trust.installed(example.TRUST, later, NOW + 201 * DAY)
    assert kept.floor_ms == NOW + 200 * DAY
    with pytest.raises(Expired):
        judge(signed(replace(example.RELEASE, counter=13), A, B), kept, now_ms=NOW)


def test_a_release_from_the_future_does_not_set_the_clock() -> None:
    dated = replace(example.RELEASE, issued_ms=NOW + 9 * DAY, expires_ms=NOW + 99 * DAY)
    assert trust.installed(example.TRUST, dated, NOW).floor_ms == NOW


def test_roots_are_followed_one_by_one() -> None:
    kept = Trust(root=FIRST, counter=40, sha256="00" * 32)
    second, third = signed(SECOND, A, C, B, D), signed(THIRD, A, B, D)
    followed = trust.follow_roots(kept, (second, third))
    assert followed.root == THIRD
    # Not one release key is left: what an attacker may have done to the counter is over.
    assert (followed.counter, followed.sha256) == (0, None)
    release = signed(example.RELEASE, F)
    assert judge(release, kept, second, third) == example.RELEASE
    assert judge(release, followed, second, third) == example.RELEASE  # known roots are passed over


def test_a_release_key_that_stays_keeps_the_counter() -> None:
    follower = root(2, role(2, A, B, C), role(1, C, D), A, B, C, D)
    kept = Trust(root=FIRST, counter=40)
    assert trust.follow_roots(kept, (signed(follower, A, B),)).counter == 40


@pytest.mark.parametrize(
    ("roots", "error"),
    [
        ((signed(THIRD, A, B, D),), RootGap),
        ((signed(SECOND, A, D),), NotEnoughSignatures),  # not enough of the old
        ((signed(SECOND, A, C),), NotEnoughSignatures),  # not enough of the new
        ((signed(SECOND, D, E, F),), NotEnoughSignatures),
        ((signed(replace(SECOND, version=9), A, B),), RootGap),
    ],
)
def test_a_root_that_its_predecessor_did_not_sign_is_refused(
    roots: tuple[Envelope, ...], error: type[FirmwareRefused]
) -> None:
    with pytest.raises(error):
        trust.follow_roots(Trust(root=FIRST), roots)


def test_a_removed_key_signs_nothing_any_more() -> None:
    second = signed(SECOND, A, B)
    with pytest.raises(NotEnoughSignatures):
        judge(signed(example.RELEASE, A, B, C), Trust(root=FIRST), second)


def test_an_expired_root_still_leads_to_the_next() -> None:
    old = root(1, role(1, A), role(1, A), A, expires_ms=NOW - DAY)
    with pytest.raises(Expired):
        judge(signed(example.RELEASE, A), Trust(root=old))
    follower = signed(root(2, role(1, A), role(1, A), A), A)
    assert judge(signed(example.RELEASE, A), Trust(root=old), follower) == example.RELEASE


def test_keys_cannot_be_given_other_names() -> None:
    plain = msgspec.json.decode(canonical(FIRST))
    name = next(iter(plain["keys"]))
    plain["keys"][name] = raw_key(F.public_key()).hex()
    payload = msgspec.json.encode(plain, order="deterministic")
    with pytest.raises(BadDocument, match="another name"):
        read_root(msgspec.structs.replace(unsigned(FIRST), payload=payload))


@pytest.mark.parametrize("image", [example.IMAGE + b"!", example.IMAGE[:-1], example.IMAGE[:-1] + b"!"])
def test_another_image_is_refused(image: bytes) -> None:
    with pytest.raises(WrongImage):
        trust.check_image(example.RELEASE.image, len(image), trust.digest(image))


def test_a_bundle_holds_the_newest_roots_that_fit() -> None:
    roots = tuple(signed(replace(FIRST, version=n), A, B, C) for n in range(2, 20))
    data = write_bundle(roots, example.SIGNED_RELEASE)
    assert len(data) <= MAX_MANIFEST_BYTES
    kept = read_bundle(data).roots
    assert kept
    assert kept == roots[-len(kept) :]


def test_too_large_a_bundle_is_not_even_read() -> None:
    with pytest.raises(BadDocument, match="at most"):
        read_bundle(b" " * (MAX_MANIFEST_BYTES + 1))


@given(st.binary(max_size=400))
def test_garbage_raises_the_declared_errors_only(data: bytes) -> None:
    for read in (read_bundle, read_envelope):
        with pytest.raises(BadDocument):
            read(data)


@given(st.data())
def test_a_damaged_bundle_is_refused_or_means_the_same(data: st.DataObject) -> None:
    damaged = bytearray(example.BUNDLE)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        bundle = read_bundle(bytes(damaged))
        followed = trust.follow_roots(example.TRUST, bundle.roots)
        release = trust.check_release(bundle, followed, hardware=example.HARDWARE, version=example.RUNNING, now_ms=NOW)
    except FirmwareRefused:
        return
    assert release == example.RELEASE


def test_an_envelope_is_written_and_read() -> None:
    assert read_envelope(write_envelope(example.ROOT)) == example.ROOT


def test_versions_are_ordered_by_their_numbers() -> None:
    ordered = ["1", "1.0.1", "1.2", "1.10-rc1", "2.0.0+build7", "10.0"]
    keys = [version_order(version) for version in ordered]
    assert None not in keys
    assert keys == sorted(keys)  # type: ignore[type-var]  # None was excluded above
    assert version_order("1.0") == version_order("1-beta")
    assert version_order("v1") is None
