"""Random bytes on every HTTP call that a cabinet can make: declared answers, memory flat, and sound calls still heard.

Some hundred calls by default; VOLTBAY_GARBAGE_S=60 goes on for a minute (docs/vendor-cabinets.md).
"""

import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from random import Random
from time import monotonic
from typing import Final
from urllib.parse import quote

import httpx
import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import calls
from fleet.devices.models import DeadLetter
from tests.api.conftest import Live
from tests.api.test_volinks_calls import CONNECT, FRAME, IMEI, connect, signed
from tests.api.test_volinks_calls import live as live  # noqa: PLC0414  # a fixture: a Volinks station

_LOG: Final = logging.getLogger(__name__)
SECONDS: Final = float(os.environ.get("VOLTBAY_GARBAGE_S", "0"))
#: Enough for each call to be thrown at several times.
TURNS: Final = 300
#: First uses, which are no growth.
WARM: Final = 100
MOST_GROWTH: Final = 60 * 1024 * 1024
#: Methods and paths; `*` is garbage too, or what belongs there.
VENDOR: Final = (
    ("POST", "/rentbox/client/connect"), ("GET", "/iot/client/con"), ("POST", "/iot/client/con"),
    ("POST", "/rentbox/client/upload"), ("POST", "/rentbox/upload/data"), ("GET", "/rentbox/order/return"),
    ("GET", "/rentbox/client/return"), ("POST", "/rentbox/client/return"), ("GET", "/rentbox/config/data"),
    ("POST", "/rentbox/config/data"), ("GET", "/rentbox/client/version/*"), ("GET", "/iot/app/version/*"),
    ("GET", "/iot/app/version/*/*"), ("GET", "/advert/rentbox/distribute/list"),
    ("GET", "/common/config/pre_auth_amount"),
)  # fmt: skip
NATIVE: Final = (
    ("POST", "/device/claim"), ("POST", "/device/renew"), ("PUT", "/device/log/*/*"), ("GET", "/device/log/*"),
    ("GET", "/device/firmware/*/*"),
)  # fmt: skip
#: 503: versions of the vendor's firmware are asked for where no network of cabinets is set, or there is no tariff.
DECLARED: Final = {200, 400, 403, 404, 405, 413, 422, 503}
WORDS: Final = ("1", "0", "VB-1", "main", "publish", "-1", "9" * 30, IMEI, "01936a3e-7c00-7b1e-9d2a-5a1f0c9e4b21")
KEYS: Final = (
    "rentboxSN", "uuid", "sign", "hole", "singleSN", "signal", "id", "deviceUuid", "appUuid", "expires", "signature",
    "last", "simUUID",
)  # fmt: skip
HEADERS: Final = ("Voltbay-Station", "Voltbay-Key", "Voltbay-Signature", "Content-Digest", "Content-Type", "Range")


class Noise:
    """Random bytes, and things that look right at first."""

    def __init__(self) -> None:
        self.rng = Random(7)

    def text(self) -> str:
        if self.rng.random() < 0.5:
            return self.rng.choice(WORDS)
        return quote(self.rng.randbytes(self.rng.randrange(1, 40)), safe="")

    def header(self) -> str:
        """What a header may carry at all."""
        return "".join(chr(self.rng.randrange(33, 127)) for _ in range(self.rng.randrange(1, 60)))

    def body(self) -> bytes:
        rng = self.rng
        kind = rng.randrange(5)
        if kind == 0:
            return rng.randbytes(rng.randrange(300))
        if kind == 1:
            frame = bytearray(FRAME)
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
            return bytes(frame)
        if kind == 2:
            return b"[" * rng.randrange(1, 2000)
        if kind == 3:
            value = rng.choice(('"\\u0000"', "1e999", "null", "[]", '"' + "x" * 5000 + '"'))
            return f'{{"token": {value}, "csr": {value}, "nonce": {value}, "key_id": {value}}}'.encode()
        return b""

    def calls(self, live: Live) -> Iterator[httpx.Response]:
        """Each call in turn, for ever."""
        for turn in count():
            method, path = (VENDOR + NATIVE)[turn % len(VENDOR + NATIVE)]
            prefix = "/api/v1" if path in {path for _, path in NATIVE} or self.rng.random() < 0.5 else "/api"
            while "*" in path:
                path = path.replace("*", self.text(), 1)
            keys = self.rng.sample(KEYS, self.rng.randrange(len(KEYS)))
            query = "&".join(f"{key}={IMEI if key in {'rentboxSN', 'uuid'} else self.text()}" for key in keys)
            headers = {name: self.header() for name in self.rng.sample(HEADERS, self.rng.randrange(len(HEADERS)))}
            body = None if method == "GET" else self.body()
            yield live.client.request(method, f"{prefix}{path}?{query}&n={turn}", content=body, headers=headers)


def test_garbage_gets_declared_answers_and_is_kept(live: Live) -> None:
    process, before, began = psutil.Process(), 0, monotonic()
    seen: dict[int, int] = {}
    for turn, answer in enumerate(Noise().calls(live)):
        assert answer.status_code in DECLARED, (answer.request.method, str(answer.request.url), answer.text)
        assert "code" in answer.json(), (str(answer.request.url), answer.text)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        if turn == WARM:
            before = process.memory_info().rss
        if turn >= TURNS and monotonic() - began >= SECONDS:
            break
    growth = process.memory_info().rss - before
    # --log-cli-level=INFO shows it.
    _LOG.info("%d calls in %.1f s, answers %s, %.0f MiB more", turn + 1, monotonic() - began, seen, growth / 2**20)
    assert growth < MOST_GROWTH, growth
    assert {200, 400, 403, 404, 422} <= set(seen)
    with Session(live.engine) as session:
        letters = list(session.scalars(select(DeadLetter)))
    assert [each for each in letters if "upload" in each.topic and each.station_code == "V-1"]
    assert connect(live).status_code == 200, "whoever calls soundly is heard"
    upload = live.client.post("/api/rentbox/client/upload", params=signed({"rentboxSN": IMEI}), content=FRAME)
    assert upload.json()["code"] == 200, CONNECT
    with session_scope(live.engine) as session:
        assert calls.forget_old(session, utc_now() + timedelta(days=3)) > 0
