"""A picture that somebody sent, made anew: what it was besides a picture, and where it was taken, is gone. Pure."""

import io
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from fleet.rentals.errors import NotAPicture, PictureTooLarge

#: Bytes of an upload, and pixels of what it holds: a small file may be a very large picture.
PICTURE_MAX_BYTES: Final = 5 * 1024 * 1024
PIXELS_MAX: Final = 50_000_000
#: What is kept of it: enough to read the number on a bank.
_SIDE_MAX: Final = 2048
_QUALITY: Final = 85
#: A large one takes 200 MB while it is decoded.
_AT_ONCE: Final = BoundedSemaphore(2)
_FORMATS: Final = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG without any metadata; pixels."""

    content: bytes
    width: int
    height: int


def clean(content: bytes) -> Picture:
    """Decode what was sent, whatever it calls itself, and encode it again: upright, at most 2048 pixels a side.

    Raises PictureTooLarge (bytes or pixels), NotAPicture (no JPEG, PNG or WebP, or a broken one).
    """
    if len(content) > PICTURE_MAX_BYTES:
        raise PictureTooLarge(f"a picture has at most {PICTURE_MAX_BYTES} bytes", limit=PICTURE_MAX_BYTES)
    try:
        with _AT_ONCE, Image.open(io.BytesIO(content), formats=_FORMATS) as sent:
            if sent.width * sent.height > PIXELS_MAX:
                raise PictureTooLarge(f"a picture has at most {PIXELS_MAX} pixels", limit=PIXELS_MAX)
            return _anew(sent)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(f"a picture has at most {PIXELS_MAX} pixels", limit=PIXELS_MAX) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise NotAPicture("it is no JPEG, PNG or WebP that can be read") from error


def _anew(sent: Image.Image) -> Picture:
    sent.thumbnail((_SIDE_MAX, _SIDE_MAX))
    upright = ImageOps.exif_transpose(sent)
    plain = Image.new("RGB", upright.size, "white")
    shown = upright.convert("RGBA")
    plain.paste(shown, mask=shown.getchannel("A"))
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return Picture(out.getvalue(), plain.width, plain.height)
