"""Signed-in people, made straight in the database, with tokens that the running API accepts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx

from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.users import tokens
from fleet.users.models import Role, User
from tests.api.conftest import Live
from tests.plain_http import NO_TLS


@dataclass(frozen=True, slots=True)
class Person:
    user: User
    tokens: tokens.Tokens
    #: Sends this person's token.
    http: httpx.Client


@contextmanager
def signed_in(live: Live, role: Role = Role.RIDER) -> Iterator[Person]:
    now = utc_now()
    with session_scope(live.engine) as session:
        user = User(
            email=f"{uuid4().hex}@example.com", role=role, tokens_valid_from=now, created_at=now, locale="en",
            time_zone="UTC",
        )  # fmt: skip
        session.add(user)
        session.flush()
        pair = tokens.issue(session, user, now, live.settings, keys=live.server.runtime.keys, user_agent="tests")
    headers = {"Authorization": f"Bearer {pair.access_token}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=40, verify=NO_TLS) as client:
        yield Person(user, pair, client)


@contextmanager
def operator(live: Live) -> Iterator[Person]:
    with signed_in(live, Role.OPERATOR) as person:
        yield person
