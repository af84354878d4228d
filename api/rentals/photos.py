"""Photos with a claim that the bank is in a slot. The body is the picture itself."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request, Response

from api.auth import CurrentUser
from api.bodies import read_at_most
from api.deps import Now, SessionDep
from api.problems import problems
from api.rentals.care_schemas import ReturnPhotoOut, ReturnPhotos
from api.v1 import area
from fleet.rentals.errors import PictureTooLarge
from fleet.rentals.underway import photos
from fleet.rentals.underway.models import ReturnPhoto
from fleet.rentals.underway.pictures import PICTURE_MAX_BYTES, clean

router = area("rental", "rentals")

_BINARY: Final = {
    "schema": {
        "type": "string",
        "format": "binary",
        "maxLength": PICTURE_MAX_BYTES,
        "examples": ["the picture's bytes"],
    }
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": dict.fromkeys(("image/jpeg", "image/png", "image/webp"), _BINARY),
    }
}
JPEG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "The picture."}
}


async def _picture(request: Request) -> bytes:
    too_large = PictureTooLarge(f"a picture has at most {PICTURE_MAX_BYTES} bytes", limit=PICTURE_MAX_BYTES)
    return await read_at_most(request, PICTURE_MAX_BYTES, too_large)


def shown(photo: ReturnPhoto) -> Response:
    """To whom it was given only, and as nothing but a picture."""
    headers = {"Cache-Control": "private, no-store", "Content-Disposition": f'inline; filename="{photo.id}.jpg"'}
    return Response(photo.content, media_type="image/jpeg", headers=headers)


@router.post(
    "/{rental_id}/return-claim/photo", operation_id="add_return_photo", summary="A photo of the bank in its slot",
    status_code=201, responses=problems(401, 403, 404, 409, 413, 415), openapi_extra=_BODY,
)  # fmt: skip
def add_photo(
    rental_id: UUID, session: SessionDep, user: CurrentUser, sent: Annotated[bytes, Depends(_picture)], now: Now
) -> ReturnPhotoOut:
    """JPEG, PNG or WebP, at most 5 MB and 5 of them; what it is is seen from its content. For operators to look at;
    kept for `VOLTBAY_PHOTO_DAYS`, without what the camera wrote into it. The same again is the same photo.
    """
    made = photos.add(session, user_id=user.id, rental_id=rental_id, sent=sent, picture=clean(sent), now=now)
    return ReturnPhotoOut.model_validate(made)


@router.get(
    "/{rental_id}/return-claim/photo", operation_id="list_return_photos", summary="My photos of the return",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_photos(rental_id: UUID, session: SessionDep, user: CurrentUser) -> ReturnPhotos:
    found = photos.of_rental(session, user.id, rental_id)
    return ReturnPhotos(items=[ReturnPhotoOut.model_validate(each) for each in found])


@router.get(
    "/{rental_id}/return-claim/photo/{photo_id}", operation_id="get_return_photo", summary="One of my photos",
    response_class=Response, responses={**problems(401, 403, 404), **JPEG},
)  # fmt: skip
def get_photo(rental_id: UUID, photo_id: UUID, session: SessionDep, user: CurrentUser) -> Response:
    return shown(photos.mine(session, user.id, rental_id, photo_id))
