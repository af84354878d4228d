"""Who may connect to the embedded broker, and which topics they get."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from cli.embedded.home import Home
from cli.embedded.mosquitto import EmbeddedMosquitto
from cli.system import System, SystemOptions
from fleet.settings import Environment, Settings

_WAIT_S = 5.0


class _Client:
    """A plain MQTT 5 client whose answers can be waited for."""

    def __init__(self, port: int, user: str | None, password: str | None = None) -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: queue.Queue[int] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda *call: self.answers.put(call[3].value)
        self._client.on_subscribe = lambda *call: self.answers.put(call[3][0].value)
        self._client.on_publish = lambda *call: self.answers.put(call[3].value)
        self._client.on_message = lambda *call: self.messages.put((call[2].topic, call[2].payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.connack = self.answers.get(timeout=_WAIT_S)

    def subscribe(self, topic: str) -> int:
        self._client.subscribe(topic, qos=1)
        return self.answers.get(timeout=_WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        self._client.publish(topic, payload, qos=1, retain=retain)
        return self.answers.get(timeout=_WAIT_S)

    def next_message(self) -> tuple[str, bytes]:
        return self.messages.get(timeout=_WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def _client(*args: Any) -> Iterator[_Client]:
    client = _Client(*args)
    try:
        yield client
    finally:
        client.close()


def _device_port(broker: EmbeddedMosquitto) -> int:
    return int(broker.device_url.rpartition(":")[2])


def _gateway(broker: EmbeddedMosquitto) -> tuple[int, str, str]:
    return broker.port, "gateway", broker.home.secret("mqtt_gateway")


NOT_AUTHORIZED = 135
BAD_CREDENTIALS = 134
SUCCESS = 0
GRANTED_QOS_1 = 1
NO_SUBSCRIBERS = 16
OWN, OTHER = "861111111111111", "862222222222222"
#: Every rule and what lies beside it.
VENDOR_TOPICS = (
    *(f"/powerbank/{imei}/user/{kind}" for imei in (OWN, OTHER) for kind in ("update", "heart", "get", "upload")),
    "/powerbank//user/update",
    f"powerbank/{OWN}/user/update",
    f"/shop/{OWN}/user/update",
    f"/powerbank/{OWN}/user",
    f"/powerbank/{OWN}/user/update/deeper",
    f"/powerbank/{OWN}/../{OTHER}/user/update",
    "$SYS/broker/uptime",
    f"vb/v1/{OTHER}/up/event",
    f"vb/v1/{OWN}/down/command",
)


def test_a_cabinet_speaks_only_on_its_own_topics(broker: EmbeddedMosquitto) -> None:
    with _client(*_gateway(broker)) as gateway, _client(_device_port(broker), "VB-1") as cabinet:
        # Events are never retained; what other tests' cabinets retained on this broker (`up/state`) comes first.
        assert gateway.subscribe("$share/gateway/vb/v1/+/up/event") == GRANTED_QOS_1
        assert cabinet.publish("vb/v1/VB-2/up/event", b"forged") == NOT_AUTHORIZED
        assert cabinet.publish("vb/v1/VB-1/down/command", b"forged") == NOT_AUTHORIZED
        cabinet.publish("vb/v1/VB-1/up/event", b"own")
        assert gateway.next_message() == ("vb/v1/VB-1/up/event", b"own")


def test_a_cabinet_hears_only_what_is_meant_for_it(broker: EmbeddedMosquitto) -> None:
    with _client(*_gateway(broker)) as gateway, _client(_device_port(broker), "VB-1") as cabinet:
        # Mosquitto grants the subscription and checks each message; what is not ours never arrives.
        cabinet.subscribe("vb/v1/+/down/+")
        gateway.publish("vb/v1/VB-2/down/command", b"for another")
        gateway.publish("vb/v1/VB-1/down/command", b"mine")
        assert cabinet.next_message() == ("vb/v1/VB-1/down/command", b"mine")


def test_a_nameless_client_reaches_nothing(broker: EmbeddedMosquitto) -> None:
    with _client(_device_port(broker), None) as stranger:
        assert stranger.publish("vb/v1/VB-1/up/event", b"x") == NOT_AUTHORIZED


@pytest.fixture(params=["anonymous", "proven"])
def vendors_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EmbeddedMosquitto, str | None]]:
    """A broker and its cabinets' password: on a laptop a name is believed, elsewhere it is proven. The rules must be
    the same: whoever uses a name may do what that name's cabinet may, and nothing else.
    """
    if request.param == "anonymous":
        yield request.getfixturevalue("broker"), None
        return
    broker = EmbeddedMosquitto(Home(tmp_path), device_secrets={OWN: "s3cret", OTHER: "s3cret"})
    broker.start()
    yield broker, "s3cret"
    broker.stop()


def _may(client: _Client, topic: str) -> bool:
    answer = client.publish(topic, b"x")
    assert answer in {SUCCESS, NO_SUBSCRIBERS, NOT_AUTHORIZED}
    return answer != NOT_AUTHORIZED


def test_where_a_vendors_cabinet_may_write(vendors_broker: tuple[EmbeddedMosquitto, str | None]) -> None:
    broker, password = vendors_broker
    with _client(_device_port(broker), OWN, password) as cabinet:
        allowed = {topic for topic in VENDOR_TOPICS if _may(cabinet, topic)}
    assert allowed == {f"/powerbank/{OWN}/user/update", f"/powerbank/{OWN}/user/heart"}


def test_what_a_vendors_cabinet_hears(vendors_broker: tuple[EmbeddedMosquitto, str | None]) -> None:
    """Its own commands and its own heartbeat: it restarts when that does not come back."""
    broker, password = vendors_broker
    with (
        _client(*_gateway(broker)) as gateway,
        _client(_device_port(broker), OWN, password) as cabinet,
        _client(_device_port(broker), OTHER, password) as other,
    ):
        cabinet.subscribe("#")
        gateway.publish(f"/powerbank/{OTHER}/user/get", b"for another")
        other.publish(f"/powerbank/{OTHER}/user/heart", b"another's")
        other.publish(f"/powerbank/{OTHER}/user/update", b"another's")
        cabinet.publish(f"/powerbank/{OWN}/user/update", b"its own, and not for its ears")
        cabinet.publish(f"/powerbank/{OWN}/user/heart", b"beat")
        gateway.publish(f"/powerbank/{OWN}/user/get", b"mine")
        last = (f"/powerbank/{OWN}/user/get", b"mine")
        heard = list(iter(cabinet.next_message, last))
    assert heard == [(f"/powerbank/{OWN}/user/heart", b"beat")]


def test_where_the_backend_may_write(broker: EmbeddedMosquitto) -> None:
    """Not where a cabinet would take it for its own voice, and nowhere in a cabinet's name but to clear its state."""
    topics = [*VENDOR_TOPICS, "vb/v1/VB-1/up/event", "vb/v1/VB-1/up/state", "vb/v1/VB-1/down/command"]
    with _client(*_gateway(broker)) as gateway:
        allowed = {topic for topic in topics if _may(gateway, topic)}
    assert allowed == {
        f"/powerbank/{OWN}/user/get",
        f"/powerbank/{OTHER}/user/get",
        "vb/v1/VB-1/up/state",
        "vb/v1/VB-1/down/command",
        f"vb/v1/{OWN}/down/command",
    }


@pytest.mark.parametrize(
    ("user", "password"), [("gateway", "guessed"), ("gateway", None), ("VB-1", None), (None, None)]
)
def test_the_gateways_listener_asks_for_its_password(
    broker: EmbeddedMosquitto, user: str | None, password: str | None
) -> None:
    with _client(broker.port, user, password) as client:
        assert client.connack in {NOT_AUTHORIZED, BAD_CREDENTIALS}


def test_the_name_gateway_gives_a_cabinet_no_rights(broker: EmbeddedMosquitto) -> None:
    with _client(_device_port(broker), "gateway") as impostor:
        assert impostor.publish("vb/v1/VB-1/down/command", b"eject") == NOT_AUTHORIZED


def test_retained_state_outlives_the_broker(tmp_path: Path) -> None:
    broker = EmbeddedMosquitto(Home(tmp_path))
    broker.start()
    try:
        with _client(_device_port(broker), "VB-1") as cabinet:
            cabinet.publish("vb/v1/VB-1/up/state", b"online", retain=True)
        broker.stop()
        broker.start()
        with _client(*_gateway(broker)) as gateway:
            gateway.subscribe("vb/v1/+/up/state")
            assert gateway.next_message() == ("vb/v1/VB-1/up/state", b"online")
    finally:
        broker.stop()


def test_with_secrets_a_cabinet_must_prove_its_name(tmp_path: Path) -> None:
    broker = EmbeddedMosquitto(Home(tmp_path), device_secrets={"VB-1": "s3cret"})
    broker.start()
    try:
        port = _device_port(broker)
        with _client(port, "VB-1", "s3cret") as cabinet:
            assert cabinet.connack == SUCCESS
        for user, password in (("VB-1", None), ("VB-1", "wrong"), ("VB-2", "s3cret"), (None, None)):
            with _client(port, user, password) as stranger:
                assert stranger.connack in {NOT_AUTHORIZED, BAD_CREDENTIALS}
    finally:
        broker.stop()


def test_in_production_nobody_is_believed(tmp_path: Path) -> None:
    own = SecretStr("s" * 44)
    settings = Settings(
        environment=Environment.PRODUCTION,
        secret_key=own,
        sandbox_webhook_secret=own,
        token_private_key=own,
        home=tmp_path / "home",
    )
    chosen = System(settings, SystemOptions()).stack.options
    assert System(Settings(home=tmp_path / "laptop"), SystemOptions()).stack.options.device_secrets is None
    broker = EmbeddedMosquitto(Home(tmp_path), device_secrets=chosen.device_secrets)
    broker.start()
    try:
        for user, password in (("VB-1", None), ("VB-1", ""), (None, None)):
            with _client(_device_port(broker), user, password) as stranger:
                assert stranger.connack in {NOT_AUTHORIZED, BAD_CREDENTIALS}
    finally:
        broker.stop()


def test_where_a_cabinet_is_sent_that_has_a_secret(tmp_path: Path) -> None:
    """With a broker of somebody else's, to its listener for cabinets; what is set comes first."""
    elsewhere = SecretStr("mqtt://gateway:s3cret@broker:1884")
    given = Settings(
        home=tmp_path,
        mqtt_url=elsewhere,
        database_url=SecretStr("postgresql://x"),
        redis_url=SecretStr("redis://x"),
    )
    told = System(given, SystemOptions(device_mqtt_url="mqtt://broker:1883")).environment
    assert told["VOLTBAY_CABINET_SECRET_URL"] == "mqtt://broker:1883"
    chosen = System(given.model_copy(update={"cabinet_secret_url": "mqtt://outside:1883"}), SystemOptions())
    assert "VOLTBAY_CABINET_SECRET_URL" not in chosen.environment


def test_kill_and_start_keep_both_ports(tmp_path: Path) -> None:
    broker = EmbeddedMosquitto(Home(tmp_path))
    broker.start()
    try:
        before = (broker.url, broker.device_url)
        broker.kill()
        with pytest.raises(OSError, match="refused"):
            _Client(broker.port, "gateway")
        broker.start()
        assert (broker.url, broker.device_url) == before
        assert broker.healthy()
    finally:
        broker.stop()
    assert threading.active_count() < 50  # healthy() leaves no network threads behind
