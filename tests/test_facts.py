"""What a file holds is found out by decoding all of it, and said without its name."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from guided_dip.errors import InputError
from guided_dip.images import Facts, Picture, TooLargeError, UnknownFormatError, look_at, write


def look(path, *, max_pixels=10_000, max_pages=5):
    return look_at(path, max_pixels=max_pixels, max_pages=max_pages)


@pytest.mark.parametrize(
    ("name", "pixels", "form", "bits"),
    [
        ("a.png", np.zeros((6, 9, 3), np.uint8), "PNG", 8),
        ("a.png", np.zeros((6, 9), np.uint16), "PNG", 16),
        ("a.jpg", np.zeros((6, 9, 3), np.uint8), "JPEG", 8),
        ("a.tif", np.zeros((6, 9), np.float32), "TIFF", 32),
        ("a.bmp", np.zeros((6, 9, 3), np.uint8), "BMP", 8),
    ],
)
def test_a_picture_s_facts(tmp_path, name, pixels, form, bits):
    write(tmp_path / name, Picture(pixels))
    channels = 1 if pixels.ndim == 2 else 3
    assert look(tmp_path / name) == Facts(form, 9, 6, channels, 1, bits)
    # Whatever it is called.
    (tmp_path / name).rename(tmp_path / "upload")
    assert look(tmp_path / "upload").format == form


def test_a_picture_is_as_large_as_it_is_seen(tmp_path):
    turned = Image.new("RGB", (9, 6))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "a.jpg", exif=exif)
    assert (look(tmp_path / "a.jpg").width, look(tmp_path / "a.jpg").height) == (6, 9)


def test_pages_are_counted_and_their_pixels_together(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((4, 10, 20), np.uint16), photometric="minisblack")
    assert look(path) == Facts("TIFF", 20, 10, 1, 4, 16)
    assert look(path, max_pixels=800).pages == 4
    with pytest.raises(TooLargeError) as raised:
        look(path, max_pixels=799)
    assert str(raised.value) == (
        "its first 4 pages have more pixels than are allowed; try fewer pages"
    )
    with pytest.raises(TooLargeError) as raised:
        look(path, max_pages=3)
    assert str(raised.value) == "4 pages are more than the 3 allowed; try fewer"
    with pytest.raises(TooLargeError) as raised:
        look(path, max_pixels=199)
    assert str(raised.value) == "20x10 pixels are more than the 199 allowed; try a crop of it"


def whole(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    write(tmp_path / "whole.png", Picture(noise))
    return (tmp_path / "whole.png").read_bytes()


def test_what_is_no_picture(tmp_path):
    path = tmp_path / "secret-name.png"
    path.write_bytes(b"")
    with pytest.raises(UnknownFormatError, match=r"^the file is empty; try to get it again$"):
        look(path)
    path.write_bytes(b"GIF89a, or so it says")
    with pytest.raises(UnknownFormatError, match=r"^not a picture of a known format; try one of: "):
        look(path)
    path.write_bytes(whole(tmp_path)[:-400])
    with pytest.raises(InputError) as raised:
        look(path)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_decoder_s_own_errors_are_said_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(whole(tmp_path))

    def fails(*_):
        raise RuntimeError("of many\nlines")

    monkeypatch.setattr("guided_dip.images.formats.decoded", fails)
    with pytest.raises(InputError) as raised:
        look(path)
    assert str(raised.value) == "damaged or unusual PNG (RuntimeError); try saving it anew"


def test_kinds_that_are_not_restored_are_refused(tmp_path):
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="CMYK") as raised:
        look(tmp_path / "a.tif")
    assert type(raised.value) is InputError
