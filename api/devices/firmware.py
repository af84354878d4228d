"""Where cabinets get their firmware: a signed, expiring address per station, in ranges, throttled."""

from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from api.deps import Now, RuntimeDep, SessionDep
from api.devices.downloads import Download, unsatisfiable
from api.problems import problems
from api.ranges import Unsatisfiable
from api.v1 import area
from fleet.common.blobs import FolderBlobs
from fleet.devices.firmware import releases
from fleet.devices.firmware.errors import ReleaseNotReady
from fleet.devices.firmware.models import ReleaseState

router = area("device", "devices")


@router.get(
    "/firmware/{release_id}/{station}", operation_id="download_firmware", summary="A firmware image, for its cabinet",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The whole image."},
        206: {"content": {"application/octet-stream": {}}, "description": "The range asked for."},
        **problems(403, 404, 409, 416),
    },
)  # fmt: skip
def download_firmware(  # FastAPI gives them by name
    release_id: Annotated[int, Path(ge=1, le=2**31 - 1)],
    station: Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")],
    expires: Annotated[int, Query(ge=0, le=2**53)],
    signature: Annotated[str, Query(max_length=100)],
    request: Request,
    session: SessionDep,
    runtime: RuntimeDep,
    now: Now,
) -> Response:
    """The address comes with the update command. After a break go on with `Range` and `If-Range`; 503 says when to
    come back. What is served needs no trust: the cabinet checks the signed SHA-256.
    """
    settings = runtime.settings
    secret = settings.secret_bytes("firmware-links")
    releases.check_link(secret, release_id, station, expires=expires, signature=signature, now=now)
    release = releases.get_release(session, release_id)
    if release.state is not ReleaseState.READY:
        raise ReleaseNotReady("this release is not given out", release_id=release_id, state=release.state)
    file = FolderBlobs(settings.blobs).open(releases.image_key(release))
    try:
        return Download(runtime.downloads, file, request, size=release.size, etag=f'"{release.sha256}"')
    except Unsatisfiable:
        file.close()
        return unsatisfiable(request, release.size)
