"""Where the broker is and how to speak to it."""

import os
import ssl
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

#: Certificate authority of the broker, for mqtts://; the system's authorities without it.
CA_FILE_VARIABLE = "VOLTBAY_MQTT_CA_FILE"


@dataclass(frozen=True, slots=True)
class Broker:
    """`password` is used by cabinets that have no secret of their own; the username is always the station's code."""

    host: str
    port: int
    password: str | None = None
    tls: ssl.SSLContext | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`mqtt://[user:password@]host[:port]`, or `mqtts://` for TLS. Raises ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(f"expected mqtt://host:port or mqtts://host:port, got {parts.scheme}://{parts.hostname}")
        secure = parts.scheme == "mqtts"
        context = ssl.create_default_context(cafile=os.environ.get(CA_FILE_VARIABLE)) if secure else None
        return cls(
            host=parts.hostname,
            port=parts.port or (8883 if secure else 1883),
            password=unquote(parts.password) if parts.password else None,
            tls=context,
        )
