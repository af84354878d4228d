"""Others who send us webhooks: without the secret, with an old one, about what nobody has. No money moves for them."""

import json
from typing import Any, Final
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule
from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.payments import webhooks
from fleet.payments.providers import signing
from fleet.payments.providers.sandbox import SIGNATURE_HEADER, Delivery
from tests.model.machine import Machine, dies, numbers
from tests.model.till import SECRET

ABOUT: Final = ("charge", "refund", "payout", "dispute", "nothing", 7)
_MONEY: Final = text("""
    SELECT (SELECT concat_ws(',', count(*), sum(amount_minor), sum(posted_minor),
                             count(*) FILTER (WHERE state = 'pending'))
              FROM ledger_transfer),
           (SELECT string_agg(concat(id, state, captured_minor), ',' ORDER BY id) FROM payment_intent),
           (SELECT string_agg(concat(id, state), ',' ORDER BY id) FROM money_out),
           (SELECT string_agg(concat(id, state), ',' ORDER BY id) FROM card_dispute)""")
_KNOWN: Final = text("SELECT count(*) FROM payment_webhook")


class Forgers(Machine):
    @rule(
        how=st.sampled_from(["unsigned", "other secret", "changed", "old"]), which=numbers, dies=dies,
        about=st.sampled_from(ABOUT),
    )  # fmt: skip
    def forge(self, how: str, which: int, about: object, dies: int | None) -> None:
        """Refused, and nothing is kept of it."""
        before = self._look(_MONEY), self._look(_KNOWN)
        headers, body = self._forged(how, which, about)
        answer = self._send(headers, body, dies)
        assert isinstance(answer, FleetError), f"taken: {how}"
        assert answer.code == "webhook_refused", repr(answer)
        assert (self._look(_MONEY), self._look(_KNOWN)) == before

    @rule(about=st.sampled_from(ABOUT), dies=dies)
    def tell_of_nothing(self, about: object, dies: int | None) -> None:
        """By somebody who has the secret: the provider is asked, and knows of no such thing."""
        backend, before = self.backend, self._look(_MONEY)
        body = _event(about, f"ch_{uuid4().hex}")
        signed = {SIGNATURE_HEADER: signing.sign(SECRET.encode(), body, backend.now)}
        kept = self._send(signed, body, dies)
        if isinstance(kept, FleetError):
            assert kept.code == "webhook_refused", repr(kept)
        elif kept is not None:
            provider = self.till.provider
            backend.call(dies, lambda: webhooks.process(backend.transaction, kept, provider, backend.now))
        assert self._look(_MONEY) == before

    @rule(which=numbers, dies=dies)
    def repeat(self, which: int, dies: int | None) -> None:
        """A webhook that was received before comes again, from wherever: it is known, or too old."""
        if not self.till.received:
            return
        before = self._look(_KNOWN)
        seen = self._seen(which)
        answer = self._send(seen.headers, seen.body, dies)
        assert not isinstance(answer, FleetError) or answer.code == "webhook_refused", repr(answer)
        assert self._look(_KNOWN) == before

    def _forged(self, how: str, which: int, about: object) -> tuple[dict[str, str], bytes]:
        now, body = self.backend.now, _event(about, f"ch_{uuid4().hex}")
        if how == "unsigned":
            return {}, body
        if how == "changed" and self.till.received:
            return self._seen(which).headers, body
        if how == "old":
            return {SIGNATURE_HEADER: signing.sign(SECRET.encode(), body, now - 2 * signing.TOLERANCE)}, body
        return {SIGNATURE_HEADER: signing.sign(b"whsec_guessed", body, now)}, body

    def _seen(self, which: int) -> Delivery:
        return self.till.received[which % len(self.till.received)]

    def _send(self, headers: dict[str, str], body: bytes, dies: int | None) -> int | FleetError | None:
        """The number under which it is kept; None: it was before."""
        backend = self.backend

        def receive(session: Session) -> int | None:
            kept = webhooks.receive(session, self.till.provider, headers, body, backend.now)
            return None if kept is None else kept.id

        return backend.request(dies, receive)

    def _look(self, query: Any) -> object:
        with Session(self.backend.engine) as session:
            return tuple(session.execute(query).one())


def _event(about: object, reference: str) -> bytes:
    data = {"object": about, "reference": reference}
    return json.dumps({"id": f"evt_{uuid4().hex}", "type": "charge.succeeded", "data": data}).encode()
