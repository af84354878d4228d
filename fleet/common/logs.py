"""Logging of every process: structlog, one line per fact, JSON where machines read it. Secrets are never logged."""

import logging
import sys

import structlog
from structlog.types import EventDict, Processor

from fleet.settings import Settings

#: Libraries whose INFO lines tell nobody anything.
_QUIET = (
    "httpx",
    "httpcore",
    "kombu",
    "amqp",
    "asyncio",
    "uvicorn.access",
    "celery.app.trace",
    "celery.beat",
    "celery.worker.strategy",
)


def configure(settings: Settings, process: str) -> None:
    """Send structlog and the standard library's records to stderr in one format; `process` marks every line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _without_colour,
    ]
    last: Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:3],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def _without_colour(_logger: object, _method: str, event: EventDict) -> EventDict:
    """What uvicorn says a second time, for terminals."""
    event.pop("color_message", None)
    return event
