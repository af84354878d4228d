"""Environment → one frozen Settings. No other code of the backend reads os.environ; `cli` hands it on to children."""

import base64
import hashlib
import ipaddress
from email.utils import parseaddr
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fleet.addresses import database_address, mqtt_address, redis_address

#: Usable on a laptop only; `Settings` refuses it in production.
DEVELOPMENT_SECRET = "development-only-secret-never-use-in-production"  # noqa: S105  # refused outside development

#: Characters. What `openssl rand -base64 32` prints has 44.
SECRET_MIN = 32
#: Ways to a mail server; the port that each has unless the address names one is in fleet/users/mail.py.
SMTP_SCHEMES = ("smtps", "smtp", "smtp+clear")
#: Bytes; Standard Webhooks asks for 24 to 64.
WEBHOOK_KEY_MIN = 24


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)  # raises ValueError
    return text


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """All a process needs to know about where it runs.

    Connection addresses carry the names everybody uses (DATABASE_URL, REDIS_URL, MQTT_URL); the rest is VOLTBAY_*.
    """

    model_config = SettingsConfigDict(
        env_prefix="VOLTBAY_",
        env_file=None,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # it is the environment, passwords and all
    )

    environment: Environment = Environment.DEVELOPMENT
    home: Path = Path(".voltbay")
    database_url: Annotated[SecretStr, AfterValidator(database_address)] = Field(
        SecretStr("postgresql://postgres@127.0.0.1:5432/voltbay"),
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
    )
    redis_url: Annotated[SecretStr, AfterValidator(redis_address)] = Field(
        SecretStr("redis://127.0.0.1:6379/0"), validation_alias=AliasChoices("REDIS_URL", "redis_url")
    )
    #: mqtt://user:password@host:port, or mqtts:// for TLS.
    mqtt_url: Annotated[SecretStr, AfterValidator(mqtt_address)] = Field(
        SecretStr("mqtt://127.0.0.1:1883"), validation_alias=AliasChoices("MQTT_URL", "mqtt_url")
    )
    mqtt_ca_file: Path | None = None
    #: Networks (CIDR) from which vendors' cabinets may come, over HTTP and Relink's TCP; empty: in development any,
    #: in production none. Their calls can be forged by whoever knows an IMEI: a private APN's network belongs here.
    device_networks: tuple[Annotated[str, AfterValidator(_network)], ...] = ()

    http_host: str = "127.0.0.1"
    http_port: int = Field(8000, ge=1, le=65_535)
    #: How riders' apps and payment providers reach the API.
    public_url: str | None = None
    metrics_port: int | None = None
    #: Origins whose pages may call the API from a browser; "*" for any.
    cors_origins: tuple[str, ...] = ()
    #: Addresses of proxies whose X-Forwarded-For is believed, comma-separated.
    trusted_proxies: str = "127.0.0.1"
    request_body_max: int = 1_000_000
    #: Multiplies every rate limit; 0 switches them off.
    rate_limit_scale: float = 1.0
    log_level: str = "INFO"
    log_json: bool = False

    #: Key for everything that is hashed or signed symmetrically (one-time codes, refresh tokens, cursors).
    secret_key: SecretStr = SecretStr(DEVELOPMENT_SECRET)
    #: PEM of the Ed25519 key that signs access tokens; without it one is kept under `home`.
    token_private_key: SecretStr | None = None
    #: The key before it: its tokens are accepted while it is set.
    token_previous_key: SecretStr | None = None
    access_token_s: int = 15 * 60
    refresh_token_s: int = 30 * 24 * 3600

    #: Who carries e-mail: smtp://user:password@host (TLS is asked for and must be had), smtps:// (TLS from the start),
    #: smtp+clear:// (none: a relay on a network of one's own); and who it is from, `Name <address>`.
    smtp_url: SecretStr | None = None
    mail_from: str | None = None
    #: Who carries text messages: a webhook, and the secret (whsec_…) that signs what is sent to it.
    sms_webhook_url: str | None = None
    sms_webhook_secret: SecretStr | None = None

    otp_ttl_s: int = 300
    otp_attempts: int = 5
    #: Whether people may rent by card without an account; None: in development only.
    guests_allowed: bool | None = None
    #: Guests who never came to pay are deleted so many days after they were last seen.
    guest_days: int = Field(30, ge=1)

    currency: str = "EUR"
    #: What operators may give one rider, or take, alone in a day, in minor units by currency; of others, nothing.
    adjustment_limits: dict[str, int] = {"EUR": 5000}
    payment_provider: str = "sandbox"
    #: Where riders' browsers go after their bank's page; default: the API's own address.
    payment_return_url: str | None = None
    sandbox_webhook_secret: SecretStr = SecretStr(DEVELOPMENT_SECRET)
    #: Of Stripe's dashboard: sk_…, whsec_…; and where its API is, when not at Stripe's.
    stripe_api_key: SecretStr | None = None
    stripe_webhook_secret: SecretStr | None = None
    #: Of the endpoint for events of connected accounts, which payouts go to.
    stripe_connect_webhook_secret: SecretStr | None = None
    stripe_api_base: str | None = None

    database_pool_size: int = 10
    database_pool_overflow: int = 20

    #: How long a cabinet has to answer an eject; the deadline it is given.
    eject_deadline_s: float = 15.0
    #: After the deadline: how long a result may still be on its way before the outcome is UNKNOWN.
    eject_grace_s: float = 3.0
    #: How long money stays held for a rental whose eject nobody can verify.
    eject_unknown_limit_s: float = 24 * 3600.0
    max_open_rentals: int = 1
    min_rentable_charge_pct: int = 20
    not_taken_window_s: float = 60.0
    #: How long after it left a bank may be exchanged for another one; 0: never.
    swap_window_s: float = Field(300.0, ge=0)
    #: How long a bank is kept for a rider who reserves it.
    reservation_s: float = Field(900.0, ge=60)
    #: How long before a rental is due its rider is reminded.
    remind_before_s: float = Field(900.0, ge=0)
    #: A rental whose bank is back so soon may be cancelled free of charge, so many times a day.
    cancel_window_s: float = Field(300.0, ge=0)
    cancels_a_day: int = Field(3, ge=0)
    #: A bank that is back sooner than this is noted as perhaps broken; 0: none is.
    quick_return_s: float = Field(300.0, ge=0)
    #: For how long, and how often in one rental, billing stands still when a station cannot take the bank back.
    return_grace_s: float = Field(1800.0, ge=0)
    return_problems_max: int = Field(2, ge=0)
    #: For how many days after its end a rental may be disputed.
    dispute_days: int = Field(30, ge=1)
    #: Positions that riders share while they rent are deleted after so many days.
    location_days: int = Field(7, ge=1, le=90)
    #: Photos of banks that riders say are back are deleted after so many days.
    photo_days: int = Field(90, ge=1, le=730)
    #: Who rents: name and address as receipts show them, lines separated by a line break.
    receipt_issuer: str = Field("Voltbay", min_length=1)
    #: TrueType font for receipts; without it they show the letters of western Europe.
    receipt_font: Path | None = None

    heartbeat_s: int = 30
    telemetry_s: int = 60
    #: A station is offline after this many of its own heartbeat periods without a word.
    offline_after_periods: float = 2.5

    #: How often a station that is online and idle is asked what is in its slots; 0: only after it connected.
    reconcile_every_s: float = Field(1800.0, ge=0)
    #: Measurements that changed by less than these are not stored again before `deadband_keep_s` (0: all are stored).
    deadband_keep_s: float = 600.0
    deadband_charge_pct: int = 1
    deadband_voltage_mv: int = 25
    deadband_current_ma: int = 50
    deadband_temperature_c: float = 0.5
    deadband_signal_dbm: int = 3

    #: Where cabinets reach the broker with a certificate (mqtts://…), and with a secret; told when they get theirs.
    cabinet_tls_url: str | None = None
    cabinet_secret_url: str | None = None
    #: How long a certificate of a station is good.
    certificate_days: int = Field(730, ge=1, le=3650)
    #: How long a claim token is good that is made without saying so.
    claim_days: int = Field(90, ge=1, le=3650)
    #: How long a station has to take up a rotation: the command waits for it, and its token is good as long.
    rotation_hours: float = Field(24.0, gt=0, le=720)

    #: Events of cabinets are deleted this long after they came: as long as what they prove may be disputed.
    device_event_days: int = Field(120, ge=1)
    #: Logs of cabinets are deleted this long after they were asked for.
    device_log_days: int = 30
    #: So many jams within so long disable a slot.
    slot_jams_max: int = Field(3, ge=1)
    slot_jams_within_s: float = 24 * 3600.0
    #: A power bank this hot, or with less of its capacity left, is quarantined; with so many cycles it is flagged.
    bank_hot_c: float = 55.0
    bank_worn_pct: int = 60
    bank_cycles_flagged: int = 500

    #: Folder from which the broker reads devices' credentials. A gateway that is told of it, or `voltbay broker-sync`,
    #: keeps it up to date and signals the broker's process.
    broker_folder: Path | None = None
    broker_pid_file: Path | None = None
    #: Users of the cabinets' listeners that no station has, as a password file.
    broker_static_passwords: Path | None = None
    #: The broker's certificate (PEM, beside it NAME-key.pem); without it the fleet's authority makes one for the hosts.
    broker_server_certificate: Path | None = None
    broker_hosts: tuple[str, ...] = ("localhost", "127.0.0.1")

    #: Where gateways listen for Relink cabinets (TCP, clear text: a private network); without a port they do not.
    relink_host: str = "127.0.0.1"
    relink_port: int | None = None
    #: Firmware images and other files; default: `blobs` under `home`. Shared by all API processes.
    blob_folder: Path | None = None
    #: How cabinets reach the API for firmware; default: as phones do.
    device_http_url: str | None = None
    #: Firmware downloads at once and bytes per second of each, per API process.
    firmware_downloads_max: int = 32
    firmware_download_bps: int = 1_000_000

    gateway_group: str = "gateway"
    #: Unique among gateways, the same after a restart: the broker keeps a session under it. Default: the host's name.
    gateway_name: str | None = None
    ingest_batch_max: int = 4000
    ingest_buffer_max: int = 20_000
    gap_wait_s: float = 0.5
    gap_give_up_s: float = 3.5

    @property
    def production(self) -> bool:
        return self.environment is Environment.PRODUCTION

    @property
    def guests(self) -> bool:
        return not self.production if self.guests_allowed is None else self.guests_allowed

    @cached_property
    def base_url(self) -> str:
        return self.public_url or f"http://{self.http_host}:{self.http_port}"

    @property
    def after_payment_url(self) -> str:
        """Where riders' browsers go after a page of their bank or of the provider."""
        return self.payment_return_url or self.base_url

    @property
    def device_base_url(self) -> str:
        return self.device_http_url or self.base_url

    @property
    def blobs(self) -> Path:
        return self.blob_folder or self.home / "blobs"

    def secret_bytes(self, purpose: str) -> bytes:
        """Key material for one purpose; never the same bytes for two purposes."""
        key = hashlib.sha512(self.secret_key.get_secret_value().encode()).digest()  # blake2b takes at most 64 bytes
        return hashlib.blake2b(purpose.encode(), key=key).digest()

    @model_validator(mode="after")
    def _stripe_has_its_keys(self) -> Self:
        if self.payment_provider == "stripe" and not (self.stripe_api_key and self.stripe_webhook_secret):
            raise ValueError("Stripe needs keys: set VOLTBAY_STRIPE_API_KEY, VOLTBAY_STRIPE_WEBHOOK_SECRET")
        return self

    @model_validator(mode="after")
    def _senders_are_complete(self) -> Self:
        if self.smtp_url is not None:
            url = urlsplit(self.smtp_url.get_secret_value())
            if url.scheme not in SMTP_SCHEMES or not url.hostname:
                raise ValueError(f"VOLTBAY_SMTP_URL must be one of {', '.join(SMTP_SCHEMES)}, then ://host")
            if not parseaddr(self.mail_from or "")[1].rpartition("@")[2]:
                raise ValueError("e-mail needs a sender: set VOLTBAY_MAIL_FROM to an address, or to Name <address>")
        if self.sms_webhook_url is not None:
            if urlsplit(self.sms_webhook_url).scheme not in {"https", "http"}:
                raise ValueError("VOLTBAY_SMS_WEBHOOK_URL must be https://… or http://…")
            if len(webhook_key((self.sms_webhook_secret or SecretStr("")).get_secret_value())) < WEBHOOK_KEY_MIN:
                raise ValueError(
                    "text messages need a secret: set VOLTBAY_SMS_WEBHOOK_SECRET to whsec_ and 32 bytes as base64"
                )
        return self

    @model_validator(mode="after")
    def _refuse_default_secrets(self) -> Self:
        if not self.production:
            return self
        weak = [
            name.upper()
            for name in ("secret_key", "sandbox_webhook_secret")
            if _is_weak(getattr(self, name).get_secret_value())
            and not (name == "sandbox_webhook_secret" and self.payment_provider != "sandbox")
        ]
        if self.token_private_key is None:
            weak.append("TOKEN_PRIVATE_KEY")
        if weak:
            names = ", ".join(f"VOLTBAY_{name}" for name in weak)
            raise ValueError(f"production needs secrets of its own: set {names}")
        return self


def _is_weak(secret: str) -> bool:
    return secret == DEVELOPMENT_SECRET or len(secret) < SECRET_MIN


def webhook_key(secret: str) -> bytes:
    """The key in a secret as Standard Webhooks writes it: `whsec_` and base64. Empty when it is not one."""
    prefix, _, encoded = secret.partition("_")
    try:
        return base64.b64decode(encoded, validate=True) if prefix == "whsec" else b""
    except ValueError:
        return b""
