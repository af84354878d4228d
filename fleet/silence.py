"""When a server that is gone without a word counts as lost (decision 0343): after 25 s, whether an answer is waited
for, or what was asked is not even received. The kernel's own patience is a quarter of an hour and more.
"""

import socket
from typing import Any, Final

_IDLE_S: Final = 10
_EVERY_S: Final = 5
_TIMES: Final = 3
_LOST_MS: Final = (_IDLE_S + _EVERY_S * _TIMES) * 1000
#: Of a connection to PostgreSQL, as libpq calls them.
LIBPQ: Final[dict[str, Any]] = {
    "keepalives_idle": _IDLE_S,
    "keepalives_interval": _EVERY_S,
    "keepalives_count": _TIMES,
    "tcp_user_timeout": _LOST_MS,
}
#: Of any other TCP socket on Linux that has keepalives.
TCP: Final = {
    socket.TCP_KEEPIDLE: _IDLE_S,
    socket.TCP_KEEPINTVL: _EVERY_S,
    socket.TCP_KEEPCNT: _TIMES,
    socket.TCP_USER_TIMEOUT: _LOST_MS,
}
