import ssl
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_ANSWER_S = 3.0


def mqtt_problem(url: str, ca_file: Path | None = None) -> str | None:
    """None when the broker at mqtt://user:password@host:port lets that user in (MQTT 5), else what is wrong.

    `ca_file`: authorities to believe, for mqtts://; without it the system's.
    """
    parts = urlsplit(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    if parts.username:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    tls = parts.scheme == "mqtts"
    if tls:
        client.tls_set_context(ssl.create_default_context(cafile=ca_file))
    answers: list[ReasonCode] = []
    answered = threading.Event()

    def on_connect(_c: object, _u: object, _f: object, reason: ReasonCode, _p: Properties | None) -> None:
        answers.append(reason)
        answered.set()

    client.on_connect = on_connect
    try:
        client.connect(parts.hostname or "127.0.0.1", parts.port or (8883 if tls else 1883))
    except OSError as error:
        return f"the broker does not answer: {error}"
    client.loop_start()
    answered.wait(_ANSWER_S)
    client.disconnect()
    client.loop_stop()
    if not answers:
        return "something answers, but not as an MQTT 5 broker"
    return f"the broker refuses: {answers[0]}" if answers[0].is_failure else None
