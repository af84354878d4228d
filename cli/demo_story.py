"""What happens in the demo, step by step. Everything a rider or an operator does here, an app can do the same way."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx

from cli.running import RunState
from cli.seed import OPERATOR_EMAIL

_TOP_UP_MINOR = 2000
_GOOD_CARD = "4242424242424242"
_EJECT_WAIT_S = 20
_PATIENCE_S = 30.0
_POLL_S = 0.1
#: Asking for codes too often is refused; the operator of a running system may have signed in a moment ago.
_LONGEST_PAUSE_S = 90


class DemoFailed(Exception):
    """A step did not go as promised; says which and what was found."""


@dataclass(frozen=True, slots=True)
class Step:
    after_s: float
    who: str
    what: str
    result: str


class Story:
    """One rental against a running system. `steps` and `outcome` grow as it is played."""

    def __init__(self, state: RunState) -> None:
        if state.control_url is None or len(state.stations) < 2:
            raise DemoFailed("the running system has no two simulated stations: start it without --no-simulators")
        self.steps: list[Step] = []
        self.outcome: dict[str, Any] = {
            "rental_state": None,
            "charged_minor": None,
            "ledger_balanced": None,
            "eject_ms": None,
        }
        self._url = state.url
        self._cabinets = httpx.Client(base_url=state.control_url, timeout=10)
        self._from, self._to = state.stations[:2]
        self._rider = httpx.Client(base_url=f"{state.url}/api/v1", timeout=_EJECT_WAIT_S + 10)
        self._operator = httpx.Client(base_url=f"{state.url}/api/v1", timeout=30)
        self._began = time.monotonic()

    def play(self) -> None:
        """Raises DemoFailed, and httpx.HTTPError when somebody does not answer at all."""
        self._sign_up()
        self._top_up()
        self._quote()
        rental = self._start()
        self._telemetry(rental)
        self._return(rental)
        done = self._completed(rental)
        self._receipt(done)
        self._trail(done)

    def _sign_up(self) -> None:
        email = f"demo-{uuid4().hex[:8]}@example.com"
        user = self._sign_in(self._rider, email)
        self._note("rider", "signs up with a code from the inbox", f"{email}, account {user['id']}")

    def _top_up(self) -> None:
        body = {"amount_minor": _TOP_UP_MINOR, "currency": self._wallet()["balance"]["currency"]}
        intent = self._post(self._rider, "/payment/top-up", body)
        self._post(self._rider, f"/payment/top-up/{intent['id']}/confirm", {"card": _GOOD_CARD})
        wallet = self._until(
            "the money is in the wallet", self._wallet, lambda found: found["balance"]["amount_minor"] == _TOP_UP_MINOR
        )
        self._note("provider", "charges the sandbox card", f"wallet {_money(wallet['balance'])}")

    def _quote(self) -> None:
        quote = self._post(self._rider, "/rental/quote", {"station": self._from})
        if not quote["can_start"]:
            raise DemoFailed(f"nothing can be rented at {self._from}: {quote['reason']}")
        tariff = quote["tariff"]
        price = f"{_money(tariff['unlock'])} + {_money(tariff['interval_price'])} per {tariff['interval_minutes']} min"
        self._note("rider", f"looks at {self._from}", f"{price}, best bank {quote['charge_pct']} %")

    def _start(self) -> dict[str, Any]:
        asked = time.monotonic()
        headers = {"Prefer": f"wait={_EJECT_WAIT_S}"}
        rental: dict[str, Any] = self._post(self._rider, "/rental/start", {"station": self._from}, **headers)
        self.outcome["eject_ms"] = round((time.monotonic() - asked) * 1000)
        self.outcome["rental_id"], self.outcome["rental_state"] = rental["id"], rental["state"]
        if rental["state"] != "active":
            raise DemoFailed(f"the eject ended as {rental['state']} ({rental['failure_code']})")
        held = self._wallet()["held"]
        self._note(
            "cabinet",
            f"ejects {rental['power_bank']} from slot {rental['slot_out']}",
            f"{self.outcome['eject_ms']} ms from tap to active, {_money(held)} held",
        )
        return rental

    def _telemetry(self, rental: dict[str, Any]) -> None:
        """The page of the other station, measured by its cabinet after the rental began."""
        since = rental["started_at"]
        page = self._until(
            f"{self._to} has reported measurements",
            lambda: self._get(self._rider, f"/station/{self._to}"),
            lambda found: found["heard_at"] is not None and _instant(found["heard_at"]) >= _instant(since),
        )
        charges = [slot["charge_pct"] for slot in page["slot_list"] if slot["charge_pct"] is not None]
        measured = f"{page['slots_free']} slots free, banks at {', '.join(f'{each} %' for each in charges)}"
        self._note("cabinet", f"{self._to} reports its slots", measured)

    def _return(self, rental: dict[str, Any]) -> None:
        answer = self._cabinets.post(f"/stations/{self._to}/insert", json={"serial": rental["power_bank"]})
        inserted = _json(answer)
        self._note("rider", f"puts the bank into {self._to}", f"slot {inserted['slot']}")

    def _completed(self, rental: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = self._until(
            "the rental is completed",
            lambda: self._get(self._rider, f"/rental/{rental['id']}"),
            lambda found: found["state"] == "completed",
        )
        self.outcome["rental_state"] = done["state"]
        self.outcome["charged_minor"] = done["charged"]["amount_minor"]
        if done["station_in"] != self._to:
            raise DemoFailed(f"the bank is said to be back at {done['station_in']}, not at {self._to}")
        minutes = (_instant(done["ended_at"]) - _instant(done["started_at"])).total_seconds() / 60
        self._note("backend", "closes the rental", f"{minutes:.1f} min, {_money(done['charged'])} charged")
        return done

    def _receipt(self, rental: dict[str, Any]) -> None:
        price = self._get(self._rider, f"/rental/{rental['id']}/price")
        for line in price["lines"]:
            self._note("receipt", line["text"], _money(line["amount"]))
        if sum(line["amount"]["amount_minor"] for line in price["lines"]) != self.outcome["charged_minor"]:
            raise DemoFailed(f"the lines of the receipt do not add up to what was charged: {price}")

    def _trail(self, rental: dict[str, Any]) -> None:
        self._sign_in(self._operator, OPERATOR_EMAIL)
        proof = self._get(self._operator, "/admin/ledger/proof")
        wallet = self._wallet()
        spent = _TOP_UP_MINOR - wallet["balance"]["amount_minor"]
        balanced = proof["ok"] and spent == self.outcome["charged_minor"] and wallet["held"]["amount_minor"] == 0
        self.outcome["ledger_balanced"] = balanced
        if not balanced:
            raise DemoFailed(f"the books do not balance: {proof}, wallet {wallet}, {rental['charged']} charged")
        self._note(
            "ledger", f"{proof['transfers']} transfers prove right", f"wallet {_money(wallet['balance'])}, 0 held"
        )
        entries = self._get(self._operator, f"/admin/rental/{rental['id']}/trace")["entries"]
        for entry in entries:
            self._note("trace", f"{entry['at'][11:23]}  {entry['kind']}", entry["summary"])
        self.outcome["trace_entries"] = len(entries)

    def _sign_in(self, client: httpx.Client, email: str) -> dict[str, Any]:
        asked_at = datetime.now(UTC)
        self._ask_for_code(client, email)
        code: str = self._until(f"a code for {email} is in the inbox", lambda: self._newest_code(email, asked_at), bool)
        signed_in = _json(client.post("/user/auth/verify", json={"email": email, "code": code}))
        client.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        user: dict[str, Any] = signed_in["user"]
        return user

    def _ask_for_code(self, client: httpx.Client, email: str) -> None:
        answer = client.post("/user/auth/code", json={"email": email})
        pause = answer.headers.get("Retry-After", "")
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS and pause.isdigit() and int(pause) <= _LONGEST_PAUSE_S:
            time.sleep(int(pause))
            answer = client.post("/user/auth/code", json={"email": email})
        _json(answer)

    def _newest_code(self, email: str, since: datetime) -> str | None:
        answer = httpx.get(f"{self._url}/sandbox/messages", params={"destination": email}, timeout=10)
        for message in _json(answer)["items"]:
            if _instant(message["sent_at"]) >= since:
                found = re.search(r"\b\d{6}\b", message["body"])
                return found.group() if found else None
        return None

    def _wallet(self) -> dict[str, Any]:
        wallet: dict[str, Any] = self._get(self._rider, "/payment/wallet")
        return wallet

    def _get(self, client: httpx.Client, path: str) -> Any:
        return _json(client.get(path))

    def _post(self, client: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> Any:
        return _json(client.post(path, json=body, headers={"Idempotency-Key": str(uuid4()), **headers}))

    def _until(self, what: str, look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + _PATIENCE_S
        while not good(found := look()):
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {_PATIENCE_S:.0f} s in vain until {what}; last seen: {found}")
            time.sleep(_POLL_S)
        return found

    def _note(self, who: str, what: str, result: str) -> None:
        self.steps.append(Step(time.monotonic() - self._began, who, what, result))


def _json(answer: httpx.Response) -> Any:
    if not answer.is_success:
        request = answer.request
        raise DemoFailed(f"{request.method} {request.url.path} answered {answer.status_code}: {answer.text[:500]}")
    return answer.json() if answer.content else None


def _money(money: dict[str, Any]) -> str:
    """Two decimals: what the demo's currencies have."""
    return f"{Decimal(money['amount_minor']).scaleb(-2)} {money['currency']}"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
