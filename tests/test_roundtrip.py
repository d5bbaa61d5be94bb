"""Whatever goes in comes out: every format, depth, mode and odd size, with all it is told about."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from guided_dip.cli import run
from guided_dip.errors import InputError
from guided_dip.images import Picture, Resolution, check_writable, read, write

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d dc:title="t"/></x:xmpmeta>'
CARDS = b"".join(
    card.ljust(80) for card in (b"EXPTIME =                  3.5 / seconds", b"HISTORY flat field")
)
DEPTHS = ("uint8", "uint16", "int16", "int32", "float32", "float64")
SUFFIXES = (".png", ".tif", ".jpg", ".webp", ".bmp", ".fits")
KEEPS = {  # what each format has a place for
    ".png": {"icc", "exif", "xmp", "resolution"},
    ".tif": {"icc", "exif", "xmp", "resolution"},
    ".jpg": {"icc", "exif", "xmp", "resolution"},
    ".webp": {"icc", "exif", "xmp"},
    ".bmp": {"resolution"},
    ".fits": {"fits_header"},
}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112], tags[0x013B] = orientation, "An artist"
    return tags.tobytes().removeprefix(b"Exif\0\0")


def samples(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


@st.composite
def pictures(draw, depths=DEPTHS):
    """Draw a picture with a subset of what a file may say about one; not yet upright."""
    height, width = draw(st.integers(1, 41)), draw(st.integers(1, 41))
    dtype, seed = draw(st.sampled_from(depths)), draw(st.integers(0, 999))
    shape = (height, width, 3) if draw(st.booleans()) else (height, width)
    has = draw(st.sets(st.sampled_from(["alpha", "icc", "exif", "xmp", "resolution", "cards"])))
    resolution = Resolution(draw(st.integers(30, 900)), draw(st.integers(30, 900)), "inch")
    return Picture(
        samples(shape, dtype, seed),
        samples((height, width), dtype, seed + 1) if "alpha" in has else None,
        icc=ICC if "icc" in has else None,
        exif=exif(draw(st.integers(1, 8))) if "exif" in has else None,
        xmp=XMP if "xmp" in has else None,
        resolution=resolution if "resolution" in has else None,
        fits_header=CARDS if "cards" in has else None,
    )


def orientation_of(picture):
    tags = Image.Exif()
    if picture.exif is not None:
        tags.load(picture.exif)
    return tags.get(0x0112, 1)


def upright(array, orientation):
    """Turn as the TIFF standard's eight orientations say; written apart from the program's."""
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, 1),
    }
    return turned[orientation](array)


def as_format_has_it(picture, suffix):
    """Return what a format that has no gray makes of a picture."""
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.ndim == 2 and (suffix == ".webp" or (suffix == ".bmp" and alpha is not None)):
        pixels = np.dstack([pixels] * 3)
    if suffix == ".webp" and alpha is not None and (alpha == 255).all():
        alpha = None
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha)


def assert_same(back, picture, suffix):
    turn = orientation_of(picture) if "exif" in KEEPS[suffix] else 1
    expected = as_format_has_it(picture, suffix)
    pixels = upright(expected.pixels, turn)
    assert (back.pixels.dtype, back.pixels.shape) == (pixels.dtype, pixels.shape)
    if suffix != ".jpg":
        np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.alpha is None) == (expected.alpha is None)
    if expected.alpha is not None:
        np.testing.assert_array_equal(back.alpha, upright(expected.alpha, turn))
    keeps = KEEPS[suffix]
    assert back.icc == (picture.icc if "icc" in keeps else None)
    assert back.xmp == (picture.xmp if "xmp" in keeps else None)
    if "exif" in keeps and picture.exif is not None:
        tags = Image.Exif()
        tags.load(back.exif)
        assert (tags[0x013B], tags.get(0x0112, 1)) == ("An artist", 1)
    if "fits_header" in keeps:
        assert (back.fits_header or None) == picture.fits_header
    if "resolution" in keeps and picture.resolution is not None:
        x, y = picture.resolution.per_inch
        there = (y, x) if turn >= 5 else (x, y)
        assert back.resolution.per_inch == pytest.approx(there, rel=2e-2)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(pictures(), st.sampled_from(SUFFIXES))
def test_every_picture_comes_back_or_is_refused(picture, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        height, width = picture.pixels.shape[:2]
        try:
            check_writable(
                path,
                picture.pixels.dtype,
                picture.channels,
                has_alpha=picture.alpha is not None,
                size=(width, height),
            )
        except InputError:
            with pytest.raises(InputError, match="cannot hold"):
                write(path, picture)
            assert list(Path(folder).iterdir()) == []
            return
        write(path, picture)
        assert_same(read(path), picture, suffix)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(pictures(("uint8", "uint16", "float32")), st.sampled_from((".png", ".tif", ".webp")))
def test_what_is_restored_is_of_the_same_kind(picture, suffix):
    if picture.pixels.dtype.name not in {".png": "uint8 uint16", ".webp": "uint8"}.get(
        suffix, "uint8 uint16 float32"
    ):
        picture = dataclasses.replace(
            picture,
            pixels=picture.pixels.astype("uint8"),
            alpha=None if picture.alpha is None else picture.alpha.astype("uint8"),
        )
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / f"in{suffix}", Path(folder) / f"out{suffix}"
        write(source, picture)
        before = source.read_bytes()
        small = ["--set", "backbone_options={width: 2, scales: 1}", "--set", "final_draws=1"]
        words = ["restore", str(source), "-o", str(out), "--steps", "1", *small, "--quiet"]
        assert run([*words, "--noise", "gaussian:25"]) == 0
        assert source.read_bytes() == before
        given, restored = read(source), read(out)
    assert restored.pixels.dtype == given.pixels.dtype
    assert restored.pixels.shape == given.pixels.shape
    assert (restored.alpha is None) == (given.alpha is None)
    if given.alpha is not None:
        np.testing.assert_array_equal(restored.alpha, given.alpha)
    for name in ("icc", "exif", "xmp", "resolution"):
        assert getattr(restored, name) == getattr(given, name), name
