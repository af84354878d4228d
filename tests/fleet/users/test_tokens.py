import base64
import json
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from fleet.db import new_id, session_scope
from fleet.settings import Settings
from fleet.users import keys as key_files
from fleet.users import service, tokens
from fleet.users.errors import TokenRefused, UserSuspended
from fleet.users.models import RefreshToken, Role, User, UserAuditLog, UserSession, UserStatus
from fleet.users.tokens import Refused, SignedIn, TokenKeys, Tokens
from tests.fleet.parallel import together
from tests.fleet.users.conftest import NOW, signed_in

LATER = NOW + timedelta(minutes=10)


def renew(session: Session, settings: Settings, keys: TokenKeys, token: str) -> SignedIn | Refused:
    return tokens.refresh(session, token, LATER, settings, keys)


def renewed(session: Session, settings: Settings, keys: TokenKeys, token: str) -> Tokens:
    found = renew(session, settings, keys, token)
    assert isinstance(found, SignedIn)
    return found.tokens


def is_refused(found: SignedIn | Refused, kind: type[Exception] = TokenRefused) -> bool:
    return isinstance(found, Refused) and type(found.error) is kind


def test_an_access_token_says_who_and_since_when(session: Session, settings: Settings, keys: TokenKeys) -> None:
    found = signed_in(session, settings, keys)
    claims = keys.verify_access(found.tokens.access_token, LATER)
    assert (claims.user_id, claims.role, claims.session_id) == (found.user.id, Role.RIDER, found.tokens.session_id)
    assert claims.issued_at == NOW
    assert tokens.signed_in_user(session, claims, LATER) is found.user


def test_an_access_token_lives_a_quarter_of_an_hour(session: Session, settings: Settings, keys: TokenKeys) -> None:
    token = signed_in(session, settings, keys).tokens.access_token
    keys.verify_access(token, NOW + timedelta(seconds=899))
    for now in (NOW + timedelta(seconds=900), NOW - timedelta(seconds=6)):
        with pytest.raises(TokenRefused, match="expired"):
            keys.verify_access(token, now)


def parts(token: str) -> list[dict[str, object]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("forgery", ["none", "hmac", "stranger", "claims", "unknown kid", "no kid", "garbage", "empty"])
def test_a_forged_token_is_refused(session: Session, settings: Settings, keys: TokenKeys, forgery: str) -> None:
    token = signed_in(session, settings, keys).tokens.access_token
    header, claims = parts(token)
    stranger = Ed25519PrivateKey.generate()
    public = key_files.key_file(settings.home / "keys").public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    forged = {
        "none": f"{encoded(header | {'alg': 'none'})}.{encoded(claims)}.",
        "hmac": jwt.encode(claims, public, algorithm="HS256", headers={"kid": header["kid"]}),
        "stranger": jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": header["kid"]}),
        "claims": ".".join([encoded(header), encoded(claims | {"role": "operator"}), token.split(".")[2]]),
        "unknown kid": jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": "x"}),
        "no kid": jwt.encode(claims, stranger, algorithm="EdDSA"),
        "garbage": "a.b.c",
        "empty": "",
    }[forgery]
    with pytest.raises(TokenRefused, match="not valid"):
        keys.verify_access(forged, NOW)


@pytest.mark.parametrize(
    "change", [{"sub": "x"}, {"role": "admin"}, {"sid": None}, {"iss": "other"}, {"exp": "soon"}, {"iat": 1e300}]
)
def test_our_own_signature_does_not_excuse_nonsense(
    settings: Settings, keys: TokenKeys, change: dict[str, object]
) -> None:
    private = key_files.key_file(settings.home / "keys")
    claims = {
        "iss": "voltbay", "sub": str(new_id()), "sid": str(new_id()), "role": "rider",
        "iat": NOW.timestamp(), "exp": LATER.timestamp(),
    }  # fmt: skip
    kid = key_files.kid_of(private.public_key())
    sound = jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": kid})
    assert keys.verify_access(sound, NOW).role is Role.RIDER
    token = jwt.encode(claims | change, private, algorithm="EdDSA", headers={"kid": kid})
    with pytest.raises(TokenRefused):
        keys.verify_access(token, NOW)


def test_a_refresh_token_is_traded_for_a_new_pair(session: Session, settings: Settings, keys: TokenKeys) -> None:
    first = signed_in(session, settings, keys).tokens
    second = renewed(session, settings, keys, first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.session_id == first.session_id
    assert keys.verify_access(second.access_token, LATER).issued_at == LATER
    renewed(session, settings, keys, second.refresh_token)


def test_refresh_tokens_are_not_stored(session: Session, settings: Settings, keys: TokenKeys) -> None:
    token = signed_in(session, settings, keys).tokens.refresh_token
    stored = session.scalars(select(RefreshToken.token_hash)).all()
    assert all(token.encode() not in digest and len(digest) == 32 for digest in stored)


def test_using_one_again_ends_the_session(session: Session, settings: Settings, keys: TokenKeys) -> None:
    found = signed_in(session, settings, keys)
    second = renewed(session, settings, keys, found.tokens.refresh_token)
    assert is_refused(renew(session, settings, keys, found.tokens.refresh_token))
    assert is_refused(renew(session, settings, keys, second.refresh_token))
    claims = keys.verify_access(second.access_token, LATER)
    with pytest.raises(TokenRefused):
        tokens.signed_in_user(session, claims, LATER)
    actions = session.scalars(select(UserAuditLog.action).where(UserAuditLog.user_id == found.user.id)).all()
    assert "user.refresh_token_reused" in actions


def test_other_sessions_live_on(session: Session, settings: Settings, keys: TokenKeys) -> None:
    stolen = signed_in(session, settings, keys).tokens
    other = signed_in(session, settings, keys, now=NOW + timedelta(minutes=1)).tokens
    renewed(session, settings, keys, stolen.refresh_token)
    renew(session, settings, keys, stolen.refresh_token)
    renewed(session, settings, keys, other.refresh_token)


def test_a_race_for_one_refresh_token_has_at_most_one_winner_and_ends_the_session(
    shared: Engine, settings: Settings, keys: TokenKeys
) -> None:
    with session_scope(shared) as session:
        first = signed_in(session, settings, keys).tokens

    def use(_: int) -> SignedIn | Refused:
        with session_scope(shared) as session:
            return renew(session, settings, keys, first.refresh_token)

    outcomes = together(50, use)
    won = [outcome for outcome in outcomes if isinstance(outcome, SignedIn)]
    assert len(won) == 1
    assert all(isinstance(outcome, (SignedIn, Refused)) for outcome in outcomes)
    with session_scope(shared) as session:
        assert is_refused(renew(session, settings, keys, won[0].tokens.refresh_token))


def test_no_token_is_born_in_a_session_that_is_just_revoked(
    shared: Engine, settings: Settings, keys: TokenKeys
) -> None:
    """One thread refreshes its way along the chain while another ends the session: afterwards nothing works."""
    for attempt in range(5):
        with session_scope(shared) as session:
            found = signed_in(session, settings, keys, now=NOW + timedelta(hours=attempt))

        def chain(number: int, found: SignedIn = found) -> str | None:
            if number == 0:
                with session_scope(shared) as session:
                    owned = {"user_id": found.user.id, "session_id": found.tokens.session_id}
                    assert tokens.sign_out(session, **owned, now=LATER)
                return None
            token = found.tokens.refresh_token
            for _ in range(20):
                with session_scope(shared) as session:
                    new = renew(session, settings, keys, token)
                if isinstance(new, Refused):
                    break
                token = new.tokens.refresh_token
            return token

        last = together(2, chain)[1]
        assert isinstance(last, str)
        with session_scope(shared) as session:
            assert is_refused(renew(session, settings, keys, last))


def test_refresh_tokens_expire(session: Session, settings: Settings, keys: TokenKeys) -> None:
    token = signed_in(session, settings, keys).tokens.refresh_token
    assert is_refused(tokens.refresh(session, token, NOW + timedelta(days=30), settings, keys))
    assert isinstance(tokens.refresh(session, token, NOW + timedelta(days=29), settings, keys), SignedIn)


@pytest.mark.parametrize("token", ["", "nonsense", "\N{SNOWMAN}", "a" * 5000])
def test_an_unknown_refresh_token_is_refused(session: Session, settings: Settings, keys: TokenKeys, token: str) -> None:
    assert is_refused(renew(session, settings, keys, token))


def test_signing_out_ends_one_session_at_once(session: Session, settings: Settings, keys: TokenKeys) -> None:
    one = signed_in(session, settings, keys)
    two = signed_in(session, settings, keys, now=NOW + timedelta(minutes=1))
    assert tokens.sign_out(session, user_id=one.user.id, session_id=one.tokens.session_id, now=LATER)
    assert not tokens.sign_out(session, user_id=one.user.id, session_id=one.tokens.session_id, now=LATER)
    assert is_refused(renew(session, settings, keys, one.tokens.refresh_token))
    with pytest.raises(TokenRefused):
        tokens.signed_in_user(session, keys.verify_access(one.tokens.access_token, LATER), LATER)
    tokens.signed_in_user(session, keys.verify_access(two.tokens.access_token, LATER), LATER)
    assert [open_.id for open_ in tokens.sessions_of(session, one.user.id, LATER)] == [two.tokens.session_id]


def test_nobody_signs_others_out(session: Session, settings: Settings, keys: TokenKeys) -> None:
    victim = signed_in(session, settings, keys)
    stranger = signed_in(session, settings, keys, "stranger@example.com")
    assert not tokens.sign_out(session, user_id=stranger.user.id, session_id=victim.tokens.session_id, now=LATER)
    renewed(session, settings, keys, victim.tokens.refresh_token)


def test_signing_out_everywhere(session: Session, settings: Settings, keys: TokenKeys) -> None:
    both = [signed_in(session, settings, keys, now=NOW + timedelta(minutes=n)) for n in range(2)]
    assert tokens.sign_out_everywhere(session, both[0].user, LATER) == 2
    for found in both:
        assert is_refused(renew(session, settings, keys, found.tokens.refresh_token))
        with pytest.raises(TokenRefused):
            tokens.signed_in_user(session, keys.verify_access(found.tokens.access_token, LATER), LATER)


def test_suspension_is_felt_at_once(session: Session, settings: Settings, keys: TokenKeys) -> None:
    found = signed_in(session, settings, keys)
    service.set_status(session, found.user.id, UserStatus.SUSPENDED, actor_id=None, reason="fraud", now=LATER)
    with pytest.raises(UserSuspended):
        tokens.signed_in_user(session, keys.verify_access(found.tokens.access_token, LATER), LATER)
    assert is_refused(renew(session, settings, keys, found.tokens.refresh_token))


def test_a_status_set_behind_the_services_back_is_felt_too(
    session: Session, settings: Settings, keys: TokenKeys
) -> None:
    found = signed_in(session, settings, keys)
    session.execute(update(User).where(User.id == found.user.id).values(status=UserStatus.SUSPENDED))
    assert is_refused(renew(session, settings, keys, found.tokens.refresh_token), UserSuspended)


def test_the_role_is_the_accounts_not_the_tokens(session: Session, settings: Settings, keys: TokenKeys) -> None:
    found = signed_in(session, settings, keys, "op@example.com")
    service.create_operator(session, "op@example.com", "Op", NOW)
    claims = keys.verify_access(found.tokens.access_token, NOW)
    assert claims.role is Role.RIDER
    assert tokens.signed_in_user(session, claims, NOW).role is Role.OPERATOR


def test_claims_of_another_pair_are_refused(session: Session, settings: Settings, keys: TokenKeys) -> None:
    mine = signed_in(session, settings, keys)
    other = signed_in(session, settings, keys, "stranger@example.com")
    claims = tokens.AccessClaims(mine.user.id, Role.RIDER, other.tokens.session_id, NOW)
    with pytest.raises(TokenRefused):
        tokens.signed_in_user(session, claims, NOW)


def test_ended_sessions_are_forgotten_with_their_tokens(session: Session, settings: Settings, keys: TokenKeys) -> None:
    ended = signed_in(session, settings, keys)
    alive = signed_in(session, settings, keys, now=NOW + timedelta(minutes=1))
    tokens.sign_out(session, user_id=ended.user.id, session_id=ended.tokens.session_id, now=NOW)
    session.flush()
    tokens.forget_ended(session, LATER)
    left: list[UUID] = list(session.scalars(select(UserSession.id).where(UserSession.user_id == ended.user.id)))
    assert left == [alive.tokens.session_id]


def test_the_key_is_made_once_and_only_its_owner_reads_it(settings: Settings) -> None:
    folder = settings.home / "keys"
    made = together(20, lambda _: key_files.kid_of(key_files.key_file(folder).public_key()))
    assert len(set(made)) == 1
    assert isinstance(made[0], str)
    assert (folder / key_files.CURRENT).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [key_files.CURRENT]


def test_a_rotated_key_is_accepted_until_it_is_dropped(session: Session, settings: Settings, keys: TokenKeys) -> None:
    found = signed_in(session, settings, keys)
    key_files.rotate(settings.home / "keys")
    rotated = TokenKeys.from_settings(settings)
    rotated.verify_access(found.tokens.access_token, NOW)
    new = rotated.issue_access(found.user, found.tokens.session_id, NOW)
    assert parts(new)[0]["kid"] != parts(found.tokens.access_token)[0]["kid"]
    with pytest.raises(TokenRefused):
        keys.verify_access(new, NOW)
    (settings.home / "keys" / key_files.PREVIOUS).unlink()
    with pytest.raises(TokenRefused):
        TokenKeys.from_settings(settings).verify_access(found.tokens.access_token, NOW)


def pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_keys_from_settings(tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    user = User(id=new_id(), role=Role.RIDER)
    before = TokenKeys.from_settings(Settings(home=tmp_path, token_private_key=SecretStr(pem(old))))
    after = TokenKeys.from_settings(
        Settings(
            home=tmp_path,
            token_private_key=SecretStr(pem(new).replace("\n", "\\n")),
            token_previous_key=SecretStr(pem(old)),
        )
    )
    assert after.verify_access(before.issue_access(user, new_id(), NOW), NOW).user_id == user.id
    assert list(tmp_path.iterdir()) == []


def test_another_kind_of_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Ed25519|deserialize|load"):
        key_files.read_key("nonsense")


def test_thumbprints_are_those_of_rfc_8037() -> None:
    """Appendix A.3 of RFC 8037."""
    raw = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = Ed25519PrivateKey.from_private_bytes(raw)
    assert key_files.kid_of(key.public_key()) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
