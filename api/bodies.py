"""Bodies that are no JSON."""

from starlette.requests import Request

from fleet.common.errors import FleetError


async def read_at_most(request: Request, limit: int, too_large: FleetError) -> bytes:
    """The body as it came. Raises `too_large` before much more than `limit` bytes are in memory."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise too_large
    return bytes(content)
