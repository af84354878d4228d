"""Fetches a firmware image as a cabinet does: in one stream, going on where a break left off, hashing as it comes."""

import hashlib
import time
from typing import Final, NamedTuple

import httpx

_TIMEOUT_S: Final = 10.0
_TRIES: Final = 5
#: The longest that a busy server is waited for.
_LONGEST_WAIT_S: Final = 5.0


class Downloaded(NamedTuple):
    """`size` 0: it could not be had."""

    size: int
    sha256: str


def download(url: str, size: int) -> Downloaded:
    """Blocking. Reads at most one byte more than `size`, so that a longer image shows and an endless one ends."""
    hasher, have, etag = hashlib.sha256(), 0, ""
    with httpx.Client(timeout=_TIMEOUT_S) as client:
        for attempt in range(_TRIES):
            headers = {"Range": f"bytes={have}-", "If-Range": etag} if have and etag else {}
            try:
                with client.stream("GET", url, headers=headers) as answer:
                    if answer.status_code in {429, 503}:
                        _wait(answer.headers.get("Retry-After", ""), attempt)
                        continue
                    if not answer.is_success:
                        return Downloaded(0, "")
                    if answer.status_code != 206:
                        hasher, have = hashlib.sha256(), 0
                    etag = answer.headers.get("ETag", "")
                    for part in answer.iter_raw():
                        hasher.update(part)
                        have += len(part)
                        if have > size:
                            break
                return Downloaded(have, hasher.hexdigest())
            except httpx.HTTPError:
                _wait("", attempt)
    return Downloaded(0, "")


def _wait(retry_after: str, attempt: int) -> None:
    seconds = float(retry_after) if retry_after.isdecimal() else 0.1 * 2**attempt
    time.sleep(min(seconds, _LONGEST_WAIT_S))
