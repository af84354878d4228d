"""A rider's app and an operator's console: HTTP and nothing else."""

import itertools
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self
from uuid import uuid4

import httpx

from fleet.common.clock import utc_now
from fleet.users.service import create_operator
from tests.plain_http import NO_TLS
from tests.system.system import System
from tests.system.waiting import until

_TIMEOUT_S = 40.0
#: A task that went down with Redis or a worker is sent again after 20 s (workers/relay.py).
_CODE_S = 60.0
_addresses = itertools.count(1)


class Client:
    """One signed-in person, from a network address of their own (the API sits behind a trusted proxy here)."""

    def __init__(self, system: System, email: str | None = None) -> None:
        self.system = system
        self.email = email or f"{uuid4().hex[:12]}@example.com"
        number = next(_addresses)
        forwarded = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        self.http = httpx.Client(
            base_url=f"{system.url}/api/v1", headers={"X-Forwarded-For": forwarded}, timeout=_TIMEOUT_S, verify=NO_TLS
        )

    def sign_up(self) -> Self:
        """By one-time code, read in the sandbox's inbox."""
        return self._prove_address("/user/auth/verify")

    def _prove_address(self, path: str) -> Self:
        began = utc_now()
        ok(self.http.post("/user/auth/code", json={"email": self.email}), 202)
        code = until(lambda: self._code_since(began), f"a code for {self.email}", _CODE_S)
        return self._is(ok(self.http.post(path, json={"email": self.email, "code": code})))

    def _is(self, answer: Any) -> Self:
        self.tokens = answer
        self.id: str = answer["user"]["id"]
        self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"
        return self

    def _code_since(self, began: Any) -> str | None:
        url = f"{self.system.url}/sandbox/messages"
        messages = httpx.get(url, params={"destination": self.email}, verify=NO_TLS)
        for message in ok(messages)["items"]:
            if message["sent_at"] >= began.strftime("%Y-%m-%dT%H:%M:%S"):
                found = re.search(r"\b\d{6}\b", message["body"])
                return found.group() if found else None
        return None

    def get(self, path: str, **params: Any) -> Any:
        return ok(self.http.get(path, params=params))

    def post(self, path: str, body: object = None, *, key: str | None = None, **headers: str) -> Any:
        return ok(self.post_raw(path, body, key=key, **headers))

    def post_raw(self, path: str, body: object = None, *, key: str | None = None, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body or {}, headers={"Idempotency-Key": key or str(uuid4()), **headers})


class Rider(Client):
    def top_up(self, amount_minor: int = 5000, card: str = "4242424242424242") -> Any:
        """Bring money in by card; waits until the wallet has it."""
        before = self.wallet()["balance"]["amount_minor"]
        intent = self.post("/payment/top-up", {"amount_minor": amount_minor, "currency": "EUR"})
        confirmed = self.post(f"/payment/top-up/{intent['id']}/confirm", {"card": card})
        until(
            lambda: self.wallet()["balance"]["amount_minor"] == before + amount_minor,
            lambda: f"the top-up {self.get('/payment/top-up/' + intent['id'])} is in the wallet",
        )
        return confirmed

    def wallet(self) -> Any:
        return self.get("/payment/wallet")

    def start_raw(
        self, station: str, *, key: str | None = None, slot: int | None = None, wait: int | None = None
    ) -> httpx.Response:
        body: dict[str, Any] = {"station": station}
        if slot is not None:
            body["slot"] = slot
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        return self.post_raw("/rental/start", body, key=key, **headers)

    def start(self, station: str, *, key: str | None = None, slot: int | None = None, wait: int | None = None) -> Any:
        return ok(self.start_raw(station, key=key, slot=slot, wait=wait))

    def rent(self, station: str) -> Any:
        """Start, and wait until the rider has the bank, however that comes about."""
        return self.wait_state(self.start(station)["id"], "active")

    def start_until_answered(self, station: str, key: str) -> Any:
        """As an app does after a failure: the same request under the same key until it is answered."""

        def attempt() -> Any:
            answer = self.start_raw(station, key=key)
            return answer.json() if answer.is_success else None

        return until(attempt, lambda: f"the start is answered: {self.start_raw(station, key=key).text}")

    def rental(self, rental_id: str) -> Any:
        return self.get(f"/rental/{rental_id}")

    def wait_state(self, rental_id: str, *states: str, timeout_s: float = 30.0) -> Any:
        """The rental, once it is in one of `states`."""

        def there() -> Any:
            found = self.rental(rental_id)
            return found if found["state"] in states else None

        return until(there, lambda: f"{states}: {self.rental(rental_id)}", timeout_s)

    def rentals(self) -> list[Any]:
        """All of them, open and closed."""
        found: list[Any] = self.get("/rental/history", limit=100)["items"]
        return found

    @contextmanager
    def events(self, rental_id: str) -> Iterator["Events"]:
        """The rental's live events."""
        with self.http.stream("GET", f"/rental/{rental_id}/events") as response:
            assert response.status_code == 200, response.read()
            yield Events(response)


class Guest(Rider):
    """Nobody knows who, until they prove their address."""

    def welcome(self) -> Self:
        return self._is(ok(self.http.post("/user/guest", json={}), 201))

    def become_account(self) -> Self:
        return self._prove_address("/user/guest/verify")

    def rent_by_card(self, station: str, card: str = "4242424242424242") -> Any:
        """Asked for, paid for, and in the hand."""
        asked = ok(self.post_raw("/rental/start", {"station": station, "pay": "card"}), 402)
        path = f"/payment/intent/{asked['intent']['id']}"
        self.post(f"{path}/confirm", {"card": card})
        rental_id = until(lambda: self.get(path)["rental_id"], lambda: f"it begins by itself: {self.get(path)}")
        return self.wait_state(rental_id, "active")


class Events:
    """Server-sent events, one at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        event: dict[str, str] = {}
        for line in self._lines:
            if not line and event.get("data"):
                return event
            name, _, value = line.partition(":")
            if name in {"event", "data", "id"}:
                event[name] = value.strip()
        raise AssertionError("the stream ended")

    def until(self, text: str, timeout_s: float = 20.0) -> dict[str, str]:
        """The first event whose data contain `text`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            event = self.next()
            if text in event["data"]:
                return event
        raise AssertionError(f"no event with {text!r}")


class Operator(Client):
    @classmethod
    def of(cls, system: System) -> "Operator":
        """The account is made as `voltbay createsuperuser` does; the rest is HTTP."""
        operator = cls(system, f"operator-{uuid4().hex[:8]}@example.com")
        with system.session() as session:
            create_operator(session, operator.email, "Olga", utc_now())
        return operator.sign_up()

    def import_fleet(self) -> None:
        """Stations and banks of the simulated fleet, before the first cabinet connects."""
        rows = [
            {
                "code": station.code,
                "name": station.name,
                "latitude": station.lat,
                "longitude": station.lon,
                "slots": station.slots,
                "address": station.address,
                "city": "Lisboa",
                "country": "PT",
                "time_zone": "Europe/Lisbon",
            }
            for station in self.system.spec.stations
        ]
        imported = self.post("/admin/station/import", rows)
        assert (imported["problems"], imported["created"]) == ([], len(rows)), imported
        serials = [bank.serial for station in self.system.spec.stations for bank in station.banks]
        for part in range(0, len(serials), 1000):
            self.post("/admin/bank", {"serials": serials[part : part + 1000]})


def ok(response: httpx.Response, *statuses: int) -> Any:
    """The JSON of an answer with one of `statuses` (default: any success)."""
    good = response.status_code in statuses if statuses else response.is_success
    assert good, f"{response.request.method} {response.request.url}: {response.status_code} {response.text}"
    return response.json() if response.content else None


def riders_with(system: System, count: int, amount_minor: int) -> list[Rider]:
    """So many new riders, each with that money."""

    def one(_: int) -> Rider:
        rider = Rider(system).sign_up()
        rider.top_up(amount_minor)
        return rider

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))
