"""Pictures that people send: made anew, or refused by a declared error."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fleet.rentals.errors import NotAPicture, PictureTooLarge
from fleet.rentals.underway import pictures
from fleet.rentals.underway.pictures import PICTURE_MAX_BYTES, clean

RED = (250, 10, 10)
#: Tags of EXIF: how the camera was held, who made it, where (a directory of its own).
ORIENTATION, ARTIST, GPS = 0x0112, 0x013B, 0x8825


def sent(kind: str = "JPEG", size: tuple[int, int] = (60, 40), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, RED).save(out, kind, **options)
    return out.getvalue()


def seen(content: bytes) -> Image.Image:
    found = Image.open(io.BytesIO(content))
    found.load()
    return found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_is_kept_is_a_jpeg(kind: str) -> None:
    made = clean(sent(kind))
    found = seen(made.content)
    assert (found.format, found.size, (made.width, made.height)) == ("JPEG", (60, 40), (60, 40))
    red, green, blue = found.convert("RGB").getpixel((30, 20))  # type: ignore[misc]  # three bands
    assert red > 200
    assert max(green, blue) < 60


def test_nothing_that_the_camera_wrote_is_left_and_it_stands_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "Somebody"
    exif.get_ifd(GPS)[1] = "N"
    made = clean(sent(exif=exif, comment=b"at home"))
    found = seen(made.content)
    assert (made.width, made.height, dict(found.getexif())) == (40, 60, {})
    assert b"Somebody" not in made.content
    assert b"at home" not in made.content


def test_a_large_one_is_made_smaller() -> None:
    made = clean(sent(size=(5000, 2500)))
    assert (made.width, made.height) == (2048, 1024)


def test_what_shines_through_is_white() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(out, "PNG")
    assert seen(clean(out.getvalue()).content).convert("RGB").getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(NotAPicture):
        clean(sent(kind))


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"%PDF-1.7", b"MZ" + bytes(100)])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(NotAPicture):
        clean(content)


def test_too_many_bytes_and_too_many_pixels() -> None:
    with pytest.raises(PictureTooLarge):
        clean(bytes(PICTURE_MAX_BYTES + 1))
    small = sent("PNG", (9000, 6000))
    assert len(small) < PICTURE_MAX_BYTES
    with pytest.raises(PictureTooLarge):
        clean(small)


@given(st.data())
def test_a_broken_one_is_refused_by_a_declared_error(data: st.DataObject) -> None:
    whole = bytearray(_ONE)
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        made = clean(cut)
    except (NotAPicture, PictureTooLarge):
        return
    assert seen(made.content).format == "JPEG"


_ONE = sent("PNG", (9, 7))
assert pictures.PIXELS_MAX < Image.MAX_IMAGE_PIXELS  # type: ignore[operator]  # it is set
