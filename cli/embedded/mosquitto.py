import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Template

from cli.embedded import ports
from cli.embedded.errors import ProgramMissing
from cli.embedded.home import Home, write_private
from cli.embedded.launch import ServiceUser
from cli.embedded.mqtt_probe import mqtt_problem
from cli.embedded.ports import LOOPBACK
from cli.embedded.service import EmbeddedService
from fleet.devices.broker_files import SERVER
from fleet.devices.passwords import password_file

#: Templates and ACLs; containers mount the same folder.
TEMPLATES = Path(__file__).resolve().parents[2] / "mosquitto"
#: Where `make services` unpacks it when it may not install.
_UNPACKED = TEMPLATES.parent / ".tools" / "bin"
GATEWAY_USER = "gateway"
#: Nobody takes over another one's session, where everybody proves who they are.
_TIED = "use_username_as_clientid true"


class EmbeddedMosquitto(EmbeddedService):
    """Mosquitto with the listeners that containers have, on loopback, and one for laptops (decisions 0003, 0203).

    The backend, with a password, has its own: where there is a password file every unknown user is refused, anonymous
    or not. On the laptop's the name that a cabinet gives is believed, unless there are `device_secrets` (station code →
    secret).
    """

    name = "mosquitto"

    def __init__(self, home: Home, *, device_secrets: Mapping[str, str] | None = None) -> None:
        super().__init__(home)
        self._device_secrets = device_secrets
        self._device_port: int | None = None
        self._tls_port: int | None = None
        self._secret_port: int | None = None
        self._sealed_port: int | None = None

    @property
    def identity(self) -> Path:
        """Where it reads devices' credentials. With a server's certificate there, it has listeners that check them."""
        return self.data / "identity"

    @property
    def pid_file(self) -> Path:
        return self._pid_file

    @property
    def tls_url(self) -> str | None:
        """Where cabinets with a certificate connect; None without the files for it."""
        return None if self._tls_port is None else f"mqtts://{LOOPBACK}:{self._tls_port}"

    @property
    def secret_url(self) -> str | None:
        """Where cabinets with a secret connect; None without the files for it."""
        return None if self._secret_port is None else f"mqtt://{LOOPBACK}:{self._secret_port}"

    @property
    def sealed_url(self) -> str | None:
        """Where cabinets with a secret connect that can do TLS; None without the files for it."""
        return None if self._sealed_port is None else f"mqtts://{LOOPBACK}:{self._sealed_port}"

    @property
    def url(self) -> str:
        """Where the backend connects."""
        return f"mqtt://{GATEWAY_USER}:{self.home.secret('mqtt_gateway')}@{LOOPBACK}:{self.port}"

    @property
    def device_url(self) -> str:
        """Where cabinets connect, their user name being their station code."""
        if self._device_port is None:
            raise RuntimeError("mosquitto was never started")
        return f"mqtt://{LOOPBACK}:{self._device_port}"

    def program(self) -> Path:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", str(_UNPACKED)])
        found = shutil.which("mosquitto", path=path)
        if found is None:
            raise ProgramMissing("mosquitto", "install the system package (apt install mosquitto), or give MQTT_URL")
        return Path(found)

    def healthy(self) -> bool:
        """Whether the gateway's user is let in."""
        return mqtt_problem(self.url) is None

    def _choose_ports(self) -> None:
        super()._choose_ports()
        if self._device_port is None or not ports.is_free(self._device_port):
            self._device_port = self.home.port("mosquitto_devices")
        if not (self.identity / SERVER).exists():
            return
        if self._tls_port is None or not ports.is_free(self._tls_port):
            self._tls_port = self.home.port("mosquitto_tls")
        if self._secret_port is None or not ports.is_free(self._secret_port):
            self._secret_port = self.home.port("mosquitto_secrets")
        if self._sealed_port is None or not ports.is_free(self._sealed_port):
            self._sealed_port = self.home.port("mosquitto_sealed")

    @property
    def _config(self) -> Path:
        return self.data / "mosquitto.conf"

    def _prepare(self, user: ServiceUser | None) -> None:
        gateway = {GATEWAY_USER: self.home.secret("mqtt_gateway")}
        self._write("gateway.passwords", password_file(gateway), user)
        self._write("devices.passwords", password_file(self._device_secrets or {}), user)
        for name in ("devices.acl", "gateway.acl"):
            self._write(name, (TEMPLATES / name).read_text(), user)
        limits = self.data / "limits.d"
        limits.mkdir(exist_ok=True)
        self._write("limits.d/limits.conf", (TEMPLATES / "limits.d" / "limits.conf").read_text(), user)
        self._write(self._config.name, self._render(limits), user)
        if user is not None:
            user.own(self.data)

    def _render(self, limits: Path) -> str:
        proves = self._device_secrets is not None
        return Template((TEMPLATES / "embedded.conf.template").read_text()).substitute(
            data=self.data,
            acl=self.data,
            limits=limits,
            gateway_port=self.port,
            device_port=self._device_port,
            device_anonymous="false" if proves else "true",
            device_passwords=f"password_file {self.data}/devices.passwords\n{_TIED}" if proves else "",
            identity_listeners=self._render_identity(),
        )

    def _render_identity(self) -> str:
        if self._tls_port is None:
            return ""
        return Template((TEMPLATES / "identity.conf.template").read_text()).substitute(
            acl=self.data,
            identity=self.identity,
            tls_port=self._tls_port,
            secret_port=self._secret_port,
            sealed_port=self._sealed_port,
        )

    def _write(self, name: str, text: str, user: ServiceUser | None) -> None:
        write_private(self.data / name, text)
        if user is not None:
            os.chown(self.data / name, user.uid, user.gid)

    def _command(self) -> list[str]:
        return [str(self.program()), "-c", str(self._config)]
