"""Files to cabinets, politely: so many at once, so many bytes per second each, straight from the blob store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.problems import problem, request_id_of
from api.ranges import Span, asked_range

_PART_BYTES: Final = 64 * 1024
_RETRY_AFTER_S: Final = 10


@dataclass(slots=True)
class Downloads:
    """Of one process; used on its event loop only. `bytes_per_s` 0: as fast as it goes."""

    most: int
    bytes_per_s: int
    now: int = 0


class Download(StreamingResponse):
    """A file, or the part of it that the request asks for. Raises Unsatisfiable.

    `etag` names the content, which never changes under it: `If-Range` with another one gets the whole.
    """

    def __init__(self, downloads: Downloads, file: IO[bytes], request: Request, *, size: int, etag: str) -> None:
        self._downloads = downloads
        self._file = file
        span = self._asked(request, size, etag)
        self._span = span or Span(0, size)
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "private, max-age=3600"}
        headers["Content-Length"] = str(self._span.stop - self._span.start)
        if span is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        status = 200 if span is None else 206
        super().__init__(self._parts(), status, headers, media_type="application/octet-stream")

    @staticmethod
    def _asked(request: Request, size: int, etag: str) -> Span | None:
        if request.headers.get("If-Range", etag) != etag:
            return None
        return asked_range(request.headers.get("Range"), size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._file):
            if self._downloads.now >= self._downloads.most:
                await _busy(Request(scope))(scope, receive, send)
                return
            self._downloads.now += 1
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._downloads.now -= 1

    async def _parts(self) -> AsyncIterator[bytes]:
        left = self._span.stop - self._span.start
        await run_in_threadpool(self._file.seek, self._span.start)
        loop, pace = asyncio.get_running_loop(), self._downloads.bytes_per_s
        began, sent = loop.time(), 0
        while left > 0:
            part = await run_in_threadpool(self._file.read, min(_PART_BYTES, left))
            if not part:
                raise OSError("the file is shorter than it was")
            yield part
            left, sent = left - len(part), sent + len(part)
            if pace and left > 0:
                await asyncio.sleep(max(0.0, began + sent / pace - loop.time()))


def _busy(request: Request) -> Response:
    return problem(
        503, "too_many_downloads", "too many cabinets are downloading: come back a little later",
        request_id=request_id_of(request), headers={"Retry-After": str(_RETRY_AFTER_S)},
    )  # fmt: skip


def unsatisfiable(request: Request, size: int) -> Response:
    """The answer to a range behind the end."""
    return problem(
        416, "range_not_satisfiable", f"the file has {size} bytes", request_id=request_id_of(request),
        headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
    )  # fmt: skip
