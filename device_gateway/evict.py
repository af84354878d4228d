"""Ending sessions at the broker.

Who connects under a client id takes its session over, and on the listeners that prove who cabinets are the client id is
the user name.
"""

from collections.abc import Mapping
from time import monotonic, sleep
from typing import Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from fleet.settings import Settings

#: At a time.
_MOST: Final = 50
#: So long nobody may come back: a broker that had not read its files yet lets a revoked device in once more.
QUIET_S: Final = 0.7
_GIVE_UP_S: Final = 4.0
_ANSWER_S: Final = 3.0
_STEP_S: Final = 0.01


class Evictor:
    """Speaks to the backend's listener."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.mqtt_url.get_secret_value())
        self._tls = parts.scheme == "mqtts"
        self._ca_file = str(settings.mqtt_ca_file) if settings.mqtt_ca_file else None
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or (8883 if self._tls else 1883)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")

    def check(self) -> None:
        """Raises OSError when the broker does not let us in."""
        hold = self._connect("")
        if not hold.wait_connected():
            raise ConnectionError("the broker does not answer")
        hold.close()

    def evict(self, users: Mapping[str, bool]) -> set[str]:
        """End the sessions of these users; those that are gone.

        True: whoever comes back is thrown out until nobody does. False: once, and whoever comes back may stay. Raises
        OSError when the broker is away.
        """
        names = sorted(users)
        gone: set[str] = set()
        for start in range(0, len(names), _MOST):
            gone |= self._evict({name: users[name] for name in names[start : start + _MOST]})
        return gone

    def _evict(self, users: Mapping[str, bool]) -> set[str]:
        holds = {name: self._connect(name) for name in users}
        give_up = monotonic() + _GIVE_UP_S
        gone: set[str] = set()
        while holds and monotonic() < give_up:
            for name, hold in list(holds.items()):
                hold.step()
                if hold.quiet(QUIET_S if users[name] else 0.0):
                    gone.add(name)
                    holds.pop(name).close()
                elif hold.lost:
                    holds[name] = self._connect(name)
            sleep(_STEP_S)
        for hold in holds.values():
            hold.close()
        return gone

    def _connect(self, client_id: str) -> "_Hold":
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.username_pw_set(self._user, self._password)
        if self._tls:
            client.tls_set(ca_certs=self._ca_file)
        client.connect(self._host, self._port, keepalive=30, clean_start=True)
        return _Hold(client)


class _Hold:
    """One connection under somebody's client id, driven step by step."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since: float | None = None
        self.lost = False

    def step(self) -> None:
        if self._client.loop(timeout=0) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.lost = True
        elif self._since is None and self._client.is_connected():
            self._since = monotonic()

    def quiet(self, seconds: float) -> bool:
        """Whether it has stood for so long that nobody took it over."""
        return not self.lost and self._since is not None and monotonic() - self._since >= seconds

    def wait_connected(self) -> bool:
        give_up = monotonic() + _ANSWER_S
        while not self.lost and self._since is None and monotonic() < give_up:
            self.step()
            sleep(_STEP_S)
        return self._since is not None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop(timeout=0)
