"""Stripe as far as we use it, over real HTTP: objects, idempotency keys, errors in its form, answers that get lost.

It knows nothing of our code; what it does follows https://docs.stripe.com/api.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

Object = dict[str, Any]

#: Payment methods that do something else than succeed.
DECLINED, ACTION = "pm_card_declined", "pm_card_action"
#: How objects of each path are called.
_KINDS = {
    "payment_intents": ("payment_intent", "pi"),
    "refunds": ("refund", "re"),
    "transfers": ("transfer", "tr"),
    "disputes": ("dispute", "dp"),
    "customers": ("customer", "cus"),
    "accounts": ("account", "acct"),
    "payouts": ("payout", "po"),
}


#: What lists may be asked for.
_FILTERS = ("payment_intent", "transfer_group", "on_behalf_of")


class Refused(Exception):
    def __init__(self, status: int, kind: str, code: str, message: str = "no") -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"type": kind, "code": code, "message": message}}


@dataclass
class FakeStripe:
    url: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    keys: dict[str, tuple[str, int, Object]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    #: Pattern of paths, or of a method and paths → how many answers to it still get lost after the work is done.
    lost: dict[str, int] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: Told of every request (method, path) before anything is done with it: its caller waits meanwhile.
    asked: Callable[[str, str], None] = lambda _method, _path: None
    now: int = 1_795_435_200

    def answer(
        self, method: str, path: str, form: Object, key: str | None, account: str | None = None
    ) -> tuple[int, Object]:
        """What the API would say, once per idempotency key. `account`: on whose behalf."""
        with self.lock:
            if account is not None:
                form = {**form, "on_behalf_of": account}
            content = json.dumps([method, path, form], sort_keys=True)
            if key is not None and key in self.keys:
                first, status, body = self.keys[key]
                if first != content:
                    return 400, {"error": {"type": "idempotency_error", "message": "another request"}}
                return status, body
            try:
                status, body = 200, self._work(method, path.removeprefix("/v1/"), form)
            except Refused as refused:
                status, body = refused.status, refused.body
            body = json.loads(json.dumps(body))
            if key is not None:
                self.keys[key] = (content, status, body)
            return status, body

    def loses(self, method: str, path: str) -> bool:
        with self.lock:
            self.requests.append(path)
            for pattern, left in self.lost.items():
                if left and (re.fullmatch(pattern, path) or re.fullmatch(pattern, f"{method} {path}")):
                    self.lost[pattern] -= 1
                    return True
            return False

    def _work(self, method: str, path: str, form: Object) -> Object:
        parts = path.split("/")
        if parts[0] == "payment_methods":
            return self._method(parts[1], parts[2], form)
        if parts[0] == "account_links":
            url = f"https://connect.stripe.example/{form['account']}"
            return {"object": "account_link", "url": url, "created": self.now, "expires_at": self.now + 300}
        if parts[-1] == "reversals":
            return self._reverse(self.objects[parts[1]])
        kind, prefix = _KINDS[parts[0]]
        if len(parts) == 1:
            return self._make(kind, prefix, form) if method == "POST" else self._list(kind, form)
        if parts[1] == "search":
            wanted = form["query"].rpartition(":")[2].strip("'")
            return _page([one for one in self._all(kind) if one["metadata"].get("intent_id") == wanted])
        found = self.objects.get(parts[1])
        if found is None or found["object"] != kind:
            raise Refused(404, "invalid_request_error", "resource_missing")
        return found if len(parts) == 2 else self._act(found, parts[2], form)

    def _all(self, kind: str) -> list[Object]:
        return [one for one in self.objects.values() if one["object"] == kind]

    def _list(self, kind: str, form: Object) -> Object:
        created = form.get("created", {})
        first, last = int(created.get("gte", 0)), int(created.get("lt", 1 << 60))
        found = [
            one
            for one in self._all(kind)
            if first <= one["created"] < last and all(one.get(name) == form[name] for name in _FILTERS if name in form)
        ]
        return _page(found)

    def _make(self, kind: str, prefix: str, form: Object) -> Object:
        one: Object = {"metadata": {}, **form, "id": f"{prefix}_{len(self.objects) + 1}", "object": kind,
                       "created": self.now}  # fmt: skip
        if "amount" in form:
            one["amount"] = int(form["amount"])
        if kind == "payment_intent":
            one |= {"status": "requires_payment_method", "last_payment_error": None, "next_action": None,
                    "amount_received": 0}  # fmt: skip
        elif kind == "refund":
            paid = self.objects[form["payment_intent"]]
            given = sum(made["amount"] for made in self._all("refund") if made["payment_intent"] == paid["id"])
            if given + one["amount"] > paid["amount_received"]:
                raise Refused(400, "invalid_request_error", "charge_already_refunded")
            one |= {"status": "pending", "currency": paid["currency"]}
        elif kind == "transfer":
            if form["destination"] not in self.objects:
                raise Refused(400, "invalid_request_error", "resource_missing")
            one |= {"reversed": False}
        elif kind == "account":
            one |= {"payouts_enabled": False, "capabilities": {"transfers": "inactive"},
                    "requirements": {"currently_due": ["individual.dob"], "disabled_reason": None}}  # fmt: skip
        elif kind == "payout":
            self._check_payout(one)
            one |= {"status": "pending", "failure_code": None}
        self.objects[one["id"]] = one
        return one

    def _check_payout(self, payout: Object) -> None:
        owner = payout["on_behalf_of"]
        if not self.objects[owner]["payouts_enabled"]:
            raise Refused(400, "invalid_request_error", "payouts_not_allowed")
        if payout["amount"] > self.balance(owner):
            raise Refused(400, "invalid_request_error", "balance_insufficient")

    def balance(self, account: str) -> int:
        """What is on a connected account, in Stripe's units."""
        came = [one for one in self._all("transfer") if one["destination"] == account and not one["reversed"]]
        left = [one for one in self._all("payout") if one["on_behalf_of"] == account and one["status"] != "failed"]
        return sum(int(one["amount"]) for one in came) - sum(int(one["amount"]) for one in left)

    def _reverse(self, transfer: Object) -> Object:
        if transfer["reversed"] or transfer["amount"] > self.balance(transfer["destination"]):
            raise Refused(400, "invalid_request_error", "balance_insufficient")
        transfer["reversed"] = True
        return {"object": "transfer_reversal", "id": f"trr_{transfer['id']}", "amount": transfer["amount"],
                "currency": transfer["currency"], "transfer": transfer["id"], "metadata": {}}  # fmt: skip

    def verify(self, account: str) -> None:
        """The account's owner has said all, and was believed."""
        self.objects[account] |= {"payouts_enabled": True, "capabilities": {"transfers": "active"},
                                  "requirements": {"currently_due": [], "disabled_reason": None}}  # fmt: skip

    def verified_account(self) -> str:
        account: str = self._make("account", "acct", {})["id"]
        self.verify(account)
        return account

    def settle_payouts(self, status: str = "paid", failure: str | None = None) -> None:
        """What the banks say of all that was sent."""
        with self.lock:
            for one in self._all("payout"):
                one |= {"status": status, "failure_code": failure}

    def _act(self, intent: Object, act: str, form: Object) -> Object:
        if act == "confirm":
            self._expect(intent, "requires_payment_method")
            return self._confirm(intent, form["payment_method"])
        if act == "capture":
            self._expect(intent, "requires_capture")
            intent |= {"status": "succeeded", "amount_received": int(form["amount_to_capture"])}
            return intent
        if intent["status"] in {"succeeded", "canceled"}:
            raise Refused(400, "invalid_request_error", "payment_intent_unexpected_state")
        intent["status"] = "canceled"
        return intent

    def _expect(self, intent: Object, status: str) -> None:
        if intent["status"] != status:
            raise Refused(400, "invalid_request_error", "payment_intent_unexpected_state")

    def _confirm(self, intent: Object, method: str) -> Object:
        if method == DECLINED:
            intent["last_payment_error"] = {"code": "card_declined", "decline_code": "insufficient_funds"}
            raise Refused(402, "card_error", "card_declined")
        if method == ACTION:
            redirect = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/3ds"}}
            intent |= {"status": "requires_action", "next_action": redirect}
            return intent
        return self.grant(intent)

    def grant(self, intent: Object) -> Object:
        """The rider's bank agrees."""
        manual = intent["capture_method"] == "manual"
        intent |= {"status": "requires_capture" if manual else "succeeded", "next_action": None,
                   "amount_received": 0 if manual else intent["amount"]}  # fmt: skip
        return intent

    def _method(self, token: str, act: str, form: Object) -> Object:
        if token == DECLINED:
            raise Refused(402, "card_error", "card_declined")
        if token == "pm_gone":
            raise Refused(404, "invalid_request_error", "resource_missing")
        card = {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2030}
        return {"id": token, "object": "payment_method", "type": "card", "card": card,
                "customer": form.get("customer") if act == "attach" else None}  # fmt: skip


def _page(found: list[Object]) -> Object:
    return {"object": "list", "data": found, "has_more": False, "url": "/v1/x"}


def _nested(pairs: list[tuple[str, str]]) -> Object:
    """`metadata[intent_id]=…` as Stripe reads it."""
    form: Object = {}
    for name, value in pairs:
        outer, *inner = re.findall(r"[^\[\]]+", name)
        if inner and inner[0].isdigit():
            form.setdefault(outer, []).append(value)
        elif inner:
            form.setdefault(outer, {})[inner[0]] = value
        else:
            form[outer] = value
    return form


class _Handler(BaseHTTPRequestHandler):
    stripe: ClassVar[FakeStripe]
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        form = _nested(parse_qsl(split.query) + parse_qsl(body))
        self.stripe.asked(self.command, split.path)
        if self.headers["authorization"] != "Bearer sk_test_voltbay":
            status, answer = 401, {"error": {"type": "invalid_request_error", "message": "who are you?"}}
        else:
            status, answer = self.stripe.answer(self.command, split.path, form, self.headers.get("idempotency-key"),
                                                self.headers.get("stripe-account"))  # fmt: skip
        if self.stripe.loses(self.command, split.path):
            self.close_connection = True
            return
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815  # the server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Nothing is printed."""


@contextmanager
def serving() -> Iterator[FakeStripe]:
    fake = FakeStripe()
    handler = type("Handler", (_Handler,), {"stripe": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
