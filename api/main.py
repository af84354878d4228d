"""`python -m api`: one API process, ended in order by SIGTERM."""

import signal
from types import FrameType

import structlog
import uvicorn

from api.app import create_app
from api.runtime import Runtime
from fleet.common import interpreter, logs
from fleet.settings import Settings

log = structlog.get_logger(__name__)

#: Requests in progress get this long after SIGTERM; streams and waits end at once.
DRAIN_S = 5
#: Longer than proxies and HTTP clients keep an idle connection: whoever lets go first must not be the one who is asked,
#: or a request meets a connection that is just being closed.
KEEP_ALIVE_S = 75


class Server(uvicorn.Server):
    """uvicorn, which on a signal also ends the waits and streams that would hold their connections open."""

    runtime: Runtime

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.runtime.hub.close_soon()
        super().handle_exit(sig, frame)


def server_for(settings: Settings) -> Server:
    app = create_app(settings)
    server = Server(
        uvicorn.Config(
            app,
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )
    server.runtime = app.state.runtime
    return server


def main() -> None:
    settings = Settings()
    logs.configure(settings, "api")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    log.info("api_starts", host=settings.http_host, port=settings.http_port)
    server = server_for(settings)
    interpreter.tune()
    server.run()
    log.info("api_stopped")
