"""The verifier that a cabinet runs by itself before it installs anything (docs/protocol.md, 16). Pure.

The rules are those of The Update Framework (https://theupdateframework.github.io/specification/latest/), for one
pushed document instead of a repository that is polled. What they refuse: a forged or altered document, one signed by
too few keys, an older release (rollback), an old one offered for ever (freeze), and parts of different releases put
together (mix-and-match).
"""

import hashlib
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from firmware_protocol.firmware.documents import (
    Bundle,
    Image,
    Release,
    Root,
    read_release,
    read_root,
    version_order,
)
from firmware_protocol.firmware.envelope import Envelope, read_envelope, require_signatures
from firmware_protocol.firmware.errors import (
    Expired,
    Rollback,
    RootGap,
    VersionTooOld,
    WrongHardware,
    WrongImage,
)
from firmware_protocol.types import ClockMs, CounterOrZero


class Trust(Struct, frozen=True, kw_only=True):
    """What a cabinet keeps in memory that survives a power cut. At the factory: the first root and nothing else.

    `counter`, `sha256`: of the release that runs. `floor_ms`: the latest time that a signed document has proven to
    have passed; a backend whose clock is older is not believed.
    """

    root: Root
    counter: CounterOrZero = 0
    sha256: str | None = None
    floor_ms: ClockMs = 0


def check_root(envelope: Envelope, trusted: Root | None) -> Root:
    """The root in `envelope`, signed by its own role and by that of `trusted`, whose next version it must be.

    `trusted` None: a first root, which nothing but the factory can vouch for. Raises FirmwareRefused.
    """
    root = read_root(envelope)
    if trusted is not None:
        require_signatures(envelope, trusted.keys_of(trusted.root), trusted.root.threshold)
        if root.version != trusted.version + 1:
            raise RootGap(f"root {root.version} does not follow root {trusted.version}")
    require_signatures(envelope, root.keys_of(root.root), root.root.threshold)
    return root


def factory_trust(envelope: bytes) -> Trust:
    """What a cabinet begins with: a root, signed by itself, that somebody has carried here. Raises FirmwareRefused."""
    return Trust(root=check_root(read_envelope(envelope), None))


def follow_roots(trust: Trust, roots: Iterable[Envelope]) -> Trust:
    """The trust after the bundle's roots, which hold even when its release is refused. Raises FirmwareRefused.

    Roots that are known already are passed over. That one has expired does not matter here: a cabinet that was in a
    cellar for years must find its way to the newest.
    """
    for envelope in roots:
        if read_root(envelope).version > trust.root.version:
            trust = _with_root(trust, check_root(envelope, trust.root))
    return trust


def _with_root(trust: Trust, root: Root) -> Trust:
    """When not one release key is left, no old release is valid any more and the counter starts over: otherwise a
    stolen key could set it so high that nothing could ever follow.
    """
    if set(root.releases.keyids) & set(trust.root.releases.keyids):
        return replace(trust, root=root)
    return replace(trust, root=root, counter=0, sha256=None)


def check_signed_release(envelope: Envelope, root: Root) -> Release:
    """The release in `envelope`, signed by the release role of `root`. Raises FirmwareRefused."""
    require_signatures(envelope, root.keys_of(root.releases), root.releases.threshold)
    return read_release(envelope)


def check_release(bundle: Bundle, trust: Trust, *, hardware: str, version: str, now_ms: int) -> Release:
    """The release that this cabinet may install now. Raises FirmwareRefused.

    `trust` is what `follow_roots` returned; `hardware` and `version` are what the cabinet's `booted` says; `now_ms` is
    the backend's time as the cabinet knows it.
    """
    release = check_signed_release(bundle.release, trust.root)
    time_ms = max(now_ms, trust.floor_ms)
    if time_ms >= trust.root.expires_ms:
        raise Expired(f"root {trust.root.version} expired")
    if time_ms >= release.expires_ms:
        raise Expired(f"release {release.version} expired")
    if hardware not in release.hardware:
        raise WrongHardware(f"for {', '.join(release.hardware)}, this is {hardware}")
    if release.counter < trust.counter or (release.counter == trust.counter and release.image.sha256 != trust.sha256):
        raise Rollback(f"release counter {release.counter}, {trust.counter} is installed")
    _check_minimum(release, version)
    return release


def _check_minimum(release: Release, version: str) -> None:
    if release.min_version is None:
        return
    running, wanted = version_order(version), version_order(release.min_version)
    if running is None or wanted is None or running < wanted:
        raise VersionTooOld(f"{release.version} needs {release.min_version} or later, {version} runs")


def check_image(image: Image, size: int, sha256: str) -> None:
    """Raises WrongImage unless size and digest (hex) of what was downloaded are those that were signed."""
    if size != image.size:
        raise WrongImage(f"{size} bytes, signed were {image.size}")
    if sha256 != image.sha256:
        raise WrongImage(f"SHA-256 {sha256}, signed was {image.sha256}")


def installed(trust: Trust, release: Release, now_ms: int) -> Trust:
    """The trust once `release` has started and works. Not before: an update that failed must not bar the next.

    A release dated in the future cannot set the clock forward, which would make everything look expired.
    """
    return replace(
        trust,
        counter=release.counter,
        sha256=release.image.sha256,
        floor_ms=max(trust.floor_ms, min(release.issued_ms, now_ms)),
    )


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
