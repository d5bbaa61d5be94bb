"""Picture files: nothing lost on the way in or out, and every bad one refused in one line."""

import contextlib
import dataclasses
import errno
import io
import logging
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from guided_dip.errors import InputError, RunError
from guided_dip.images import (
    Picture,
    Resolution,
    check_writable,
    from_float,
    read,
    same_file,
    to_float,
    write,
)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'
PNG_TYPES = ["uint8", "uint16"]
TIFF_TYPES = [
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64",
]  # fmt: skip
LOSSLESS = [(".png", t) for t in PNG_TYPES] + [(".tif", t) for t in TIFF_TYPES]
LOSSLESS += [(".webp", "uint8"), (".bmp", "uint8")]
SUFFIXES = [".png", ".tif", ".jpg", ".webp", ".bmp"]


def noise(shape, dtype="uint8", seed=0):
    """Draw random pixels over the whole range of a type; floats also beyond [0, 1]."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * 3).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def smooth(height=24, width=20, colours=3):
    """Draw a picture that JPEG keeps nearly."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([60 + 4 * x, 40 + 5 * y, 120 + 2 * x - y], axis=-1).astype(np.uint8)
    return image if colours == 3 else image[..., 0].copy()


def same(a, b):
    """Compare the pixels and alpha of two pictures, type and all."""
    np.testing.assert_array_equal(a.pixels, b.pixels)
    assert a.pixels.dtype == b.pixels.dtype
    assert (a.alpha is None) == (b.alpha is None)
    if a.alpha is not None:
        np.testing.assert_array_equal(a.alpha, b.alpha)
        assert a.alpha.dtype == b.alpha.dtype


def there_and_back(picture, path):
    write(path, picture, overwrite=True)
    return read(path)


def refused(path, *words, **options):
    """Read what cannot be read: one line, with the file's name and something to try."""
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    for word in ("try", *words):
        assert word in message
    return message


def exif_with(orientation=6, **tags):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = tags.get("make", "A maker")
    exif[0x013B] = "An artist of some renown"
    exif[0x8769] = {0x829A: 0.01, 0x927C: b"maker's own notes", 0x9003: "2024:01:02"}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    return exif.tobytes()


def stream_with(orientation=6):
    """Make EXIF as `Picture` has it."""
    return exif_with(orientation).removeprefix(b"Exif\0\0")


def exif_of(picture):
    exif = Image.Exif()
    exif.load(picture.exif)
    return exif


# --- round trips ------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=250)
@given(
    st.sampled_from(LOSSLESS),
    st.integers(1, 33),
    st.integers(1, 33),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.integers(0, 99),
)
def test_what_is_written_is_read(tmp_path, kind, height, width, colours, has_alpha, seed):
    suffix, dtype = kind
    pixels = noise((height, width, colours)[: 2 + (colours == 3)], dtype, seed)
    alpha = noise((height, width), dtype, seed + 1) if has_alpha else None
    picture = Picture(pixels, alpha)
    back = there_and_back(picture, tmp_path / f"a{suffix}")
    gray_as_rgb = suffix == ".webp" or (suffix == ".bmp" and has_alpha)
    if colours == 1 and gray_as_rgb:
        picture = Picture(np.dstack([pixels] * 3), alpha)
    if suffix == ".webp" and has_alpha and (alpha == 255).all():
        picture = dataclasses.replace(picture, alpha=None)
    same(back, picture)
    assert back.format == {".png": "PNG", ".tif": "TIFF", ".webp": "WebP", ".bmp": "BMP"}[suffix]
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_keeps_nearly_everything(tmp_path, suffix, colours):
    picture = Picture(smooth(colours=colours))
    back = there_and_back(picture, tmp_path / f"a{suffix}")
    assert back.pixels.shape == picture.pixels.shape
    assert np.abs(back.pixels.astype(int) - picture.pixels).max() <= 4
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.quantization[0] == Image.open(jpeg_at_95()).quantization[0]
        if colours == 3:
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # 4:4:4


def jpeg_at_95():
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, "JPEG", quality=95)
    return buffer


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
def test_pillow_reads_the_same(tmp_path, suffix, mode):
    bands = len(mode)
    samples = noise((9, 7, bands)).squeeze()
    picture = Picture(
        samples if bands == 1 else samples[..., 0] if bands == 2 else samples[..., :3],
        samples[..., -1].copy() if bands in (2, 4) else None,
    )
    write(tmp_path / f"a{suffix}", picture)
    with Image.open(tmp_path / f"a{suffix}") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), rgba(picture))


def rgba(picture):
    colours = picture.pixels if picture.channels == 3 else np.dstack([picture.pixels] * 3)
    alpha = np.full(colours.shape[:2], 255, np.uint8) if picture.alpha is None else picture.alpha
    return np.dstack([colours, alpha])


@pytest.mark.parametrize("dtype", TIFF_TYPES)
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_tifffile_reads_the_same(tmp_path, dtype, shape):
    picture = Picture(noise(shape, dtype), icc=ICC, exif=stream_with(1), xmp=XMP)
    write(tmp_path / "a.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), picture.pixels)


def test_16_bit_png_is_16_bits_for_others(tmp_path):
    samples = noise((5, 7, 4), "uint16")
    write(tmp_path / "a.png", Picture(samples[..., :3], samples[..., 3], icc=ICC))
    np.testing.assert_array_equal(
        imagecodecs.png_decode((tmp_path / "a.png").read_bytes()), samples
    )


def test_reading_does_not_touch_the_file(tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        write(path, Picture(smooth(), icc=ICC))
        before, when = path.read_bytes(), path.stat().st_mtime_ns
        read(path)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, when)


def test_the_content_decides_not_the_name(tmp_path):
    write(tmp_path / "a.png", Picture(smooth()))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").format == "PNG"


def test_arrays_of_any_layout_are_written(tmp_path):
    pixels = noise((9, 7, 3), "uint16")
    layouts = [
        np.asfortranarray(pixels),
        np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1],
        pixels.astype(">u2"),
    ]
    for pixels_laid_out in layouts:
        for suffix in (".png", ".tif"):
            picture = Picture(pixels_laid_out)
            np.testing.assert_array_equal(
                there_and_back(picture, tmp_path / f"a{suffix}").pixels, pixels
            )


def test_a_single_channel_axis_is_gray(tmp_path):
    pixels = noise((9, 7, 1))
    for suffix in (".png", ".tif", ".bmp"):
        back = there_and_back(Picture(pixels), tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(back.pixels, pixels[..., 0])


# --- kinds of pixels ----------------------------------------------------------------------------


def saved(tmp_path, image, suffix=".png", **options):
    path = tmp_path / f"kind{suffix}"
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_palettes_become_rgb(tmp_path, suffix):
    image = Image.fromarray(smooth()).quantize(16)
    picture = read(saved(tmp_path, image, suffix))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.alpha is None


def test_a_transparent_palette_becomes_rgb_and_alpha(tmp_path):
    image = Image.fromarray(smooth()).quantize(16)
    path = saved(tmp_path, image, transparency=bytes(range(0, 256, 16)))
    with Image.open(path) as again:
        expected = np.asarray(again.convert("RGBA"))
    picture = read(path)
    np.testing.assert_array_equal(np.dstack([picture.pixels, picture.alpha]), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit_becomes_8(tmp_path, suffix):
    bits = noise((9, 13)) > 127
    picture = read(saved(tmp_path, Image.fromarray(bits), suffix))
    np.testing.assert_array_equal(picture.pixels, bits * np.uint8(255))


def test_a_transparent_gray_becomes_alpha(tmp_path):
    gray = noise((9, 7)) // 64
    picture = read(saved(tmp_path, Image.fromarray(gray), transparency=2))
    np.testing.assert_array_equal(picture.pixels, gray)
    np.testing.assert_array_equal(picture.alpha, np.where(gray == 2, 0, 255))


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused(tmp_path, suffix):
    refused(saved(tmp_path, Image.fromarray(smooth()).convert("CMYK"), suffix), "CMYK", "RGB")


def test_lab_is_refused(tmp_path):
    refused(saved(tmp_path, Image.fromarray(smooth()).convert("LAB"), ".tif"), "CIELab")


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animations_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(smooth() + n) for n in (0, 9)]
    path = saved(tmp_path, frames[0], suffix, save_all=True, append_images=frames[1:])
    refused(path, "an animation of 2 frames")


# --- TIFF's many ways ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "tile": (16, 16)},
        {"rowsperstrip": 5},
        {"planarconfig": "separate"},
    ],
    ids=str,
)
def test_tiff_however_stored(tmp_path, order, big, dtype, how):
    pixels = noise((21, 19, 3), dtype)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in how else pixels
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        byteorder=order,
        bigtiff=big,
        photometric="rgb",
        iccprofile=ICC,
        **how,
    )
    picture = read(tmp_path / "a.tif")
    same(picture, Picture(pixels))
    assert picture.pixels.dtype.isnative
    assert picture.icc == ICC


def test_jpeg_in_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", smooth(), photometric="rgb", compression="jpeg")
    assert np.abs(read(tmp_path / "a.tif").pixels.astype(int) - smooth()).max() < 40


def test_white_may_be_zero(tmp_path):
    for pixels in (noise((5, 7)), noise((5, 7), "uint16")):
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
        np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, ~pixels)


def packed_tiff(pixels, bits):
    """Lay out a gray TIFF whose samples fill odd numbers of bits, each row from a whole byte."""
    wide = np.unpackbits(pixels.astype(">u2").view(np.uint8), axis=1)
    rows = np.packbits(
        wide.reshape(*pixels.shape, 16)[..., -bits:].reshape(len(pixels), -1), axis=1
    )
    height, width = pixels.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, rows.size)]
    directory = b"".join(struct.pack(">HHLHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"MM\0*" + struct.pack(">L", 8 + rows.size)
    return head + rows.tobytes() + struct.pack(">H", len(tags)) + directory + bytes(4)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_odd_bits_are_spread_over_16(tmp_path, bits):
    pixels = noise((5, 7), "uint16") >> (16 - bits)
    pixels[0, :2] = 0, 2**bits - 1
    (tmp_path / "a.tif").write_bytes(packed_tiff(pixels, bits))
    spread = read(tmp_path / "a.tif").pixels
    assert spread[0, :2].tolist() == [0, 65535]
    np.testing.assert_array_equal(np.rint(spread / 65535 * (2**bits - 1)), pixels)


@pytest.mark.parametrize(("step", "dtype"), [(257, "uint8"), (256, "uint8"), (255, "uint16")])
def test_tiff_palettes_keep_their_depth(tmp_path, step, dtype):
    colours = np.arange(768, dtype=np.uint16).reshape(3, 256) % 256 * step
    indices = noise((5, 7))
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colours)
    expected = colours.T[indices] // (step if dtype == "uint8" else 1)
    same(read(tmp_path / "a.tif"), Picture(expected.astype(dtype)))


def test_three_unlabelled_channels_are_rgb(tmp_path):
    pixels = noise((5, 7, 3), "float32")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    same(read(tmp_path / "a.tif"), Picture(pixels))


@pytest.mark.parametrize(("shape", "count"), [((5, 7, 5), 5), ((5, 7, 4), 4)])
def test_other_channels_are_refused(tmp_path, shape, count):
    tifffile.imwrite(
        tmp_path / "a.tif", noise(shape), photometric="minisblack", planarconfig="contig"
    )
    refused(tmp_path / "a.tif", f"{count} channels")


@pytest.mark.parametrize("dtype", ["complex64", "uint64", "int64"])
def test_other_types_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 7), dtype), photometric="minisblack")
    refused(tmp_path / "a.tif", "its pixels are")


def test_a_stack_needs_a_page(tmp_path):
    stack = noise((4, 6, 5), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    refused(tmp_path / "a.tif", "a stack of 4 pages")
    for page in range(4):
        picture = read(tmp_path / "a.tif", page=page)
        np.testing.assert_array_equal(picture.pixels, stack[page])
    for page in (4, -1):
        refused(tmp_path / "a.tif", f"no page {page}", "0 to 3", page=page)


def test_other_formats_have_one_page(tmp_path):
    write(tmp_path / "a.png", Picture(smooth()))
    same(read(tmp_path / "a.png", page=0), Picture(smooth()))
    refused(tmp_path / "a.png", "only page 0", page=1)


def test_volumes_and_vast_tiles_are_refused(tmp_path):
    volume = noise((16, 16, 16), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", volume, volumetric=True, photometric="minisblack")
    refused(tmp_path / "a.tif", "a volume of 16 slices")
    tifffile.imwrite(tmp_path / "a.tif", volume[0], tile=(16, 16), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(2**16 - 16)
    refused(tmp_path / "a.tif", "65520x65520")


def test_an_imagej_stack_of_one_directory_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise((4, 6, 5), "uint16"), imagej=True)
    refused(tmp_path / "a.tif", "4")


def test_thumbnails_and_masks_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(smooth()[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        file.write(smooth(), photometric="rgb", metadata=None)
    same(read(tmp_path / "a.tif"), Picture(smooth()))


def test_premultiplied_colours_stay_so_in_tiff_and_are_divided_elsewhere(tmp_path):
    alpha = np.full((5, 7), 51, np.uint8)
    alpha[0, 0] = 0
    colours = np.full((5, 7, 3), 10, np.uint8)
    picture = Picture(colours, alpha, premultiplied=True)
    back = there_and_back(picture, tmp_path / "a.tif")
    assert back.premultiplied
    same(back, picture)
    png = there_and_back(back, tmp_path / "a.png")
    assert not png.premultiplied
    np.testing.assert_array_equal(png.alpha, alpha)
    assert png.pixels[0, 0].tolist() == [0, 0, 0]
    assert (png.pixels[1:] == 50).all()


def test_imagej_metadata_survives(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", noise((5, 7), "uint16"), imagej=True, resolution=(4.0, 4.0),
        metadata={"unit": "micron", "Info": "a sample", "min": 3.0, "max": 900.0},
    )  # fmt: skip
    write(tmp_path / "b.tif", read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_imagej
        metadata = file.imagej_metadata
        assert (metadata["unit"], metadata["Info"], metadata["max"]) == (
            "micron",
            "a sample",
            900.0,
        )
        assert file.pages[0].resolution == (4.0, 4.0)


def test_ome_metadata_survives(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        noise((5, 7), "uint16"),
        metadata={"PhysicalSizeX": 0.25, "axes": "YX"},
    )
    write(tmp_path / "b.ome.tif", read(tmp_path / "a.ome.tif"))
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert file.is_ome
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata
        assert file.series[0].shape == (5, 7)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_tags_survive_other_formats(tmp_path, order):
    tifffile.imwrite(
        tmp_path / "a.tif", smooth(), byteorder=order, photometric="rgb", description="A meadow",
        software="some scanner", extratags=[(315, 2, 0, "An artist", True), (271, 2, 0, "M", True)],
    )  # fmt: skip
    picture = read(tmp_path / "a.tif")
    for suffix in (".png", ".jpg", ".webp", ".tiff"):
        picture = there_and_back(picture, tmp_path / f"b{suffix}")
        exif = exif_of(picture)
        assert (exif[270], exif[305], exif[315], exif[271]) == (
            "A meadow",
            "some scanner",
            "An artist",
            "M",
        )


# --- orientation, EXIF, profile, XMP, resolution --------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(smooth()).save(path, exif=exif_with(orientation), **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, expected)
    write(again, picture)
    with Image.open(again) as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.size == expected.shape[1::-1]
        assert image.getexif()[0x010F] == "A maker"
    np.testing.assert_allclose(read(again).pixels, expected, atol=4 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_and_resolution_turn_with_the_pixels(tmp_path, orientation):
    samples = noise((6, 9, 4))
    Image.fromarray(samples).save(tmp_path / "a.png", exif=exif_with(orientation), dpi=(100, 200))
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.samples, expected)
    dpi = (200, 100) if orientation >= 5 else (100, 200)
    assert picture.resolution.per_inch == pytest.approx(dpi, rel=1e-3)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize(
    "through", [[s] for s in SUFFIXES[:4]] + [[".tif", ".png", ".tiff", ".jpg"]], ids=str
)
def test_exif_survives(tmp_path, through, order):
    exif = Image.Exif()
    exif.load(exif_with(6))
    exif.endian = "<" if order == "II" else ">"
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif.tobytes())
    picture = read(tmp_path / "a.jpg")
    for suffix in through:
        picture = there_and_back(picture, tmp_path / f"b{suffix}")
    exif = exif_of(picture)
    assert (exif[0x010F], exif[0x013B]) == ("A maker", "An artist of some renown")
    assert exif.get_ifd(0x8769)[0x9003] == "2024:01:02"
    assert exif.get_ifd(0x8769)[0x829A] == pytest.approx(0.01)
    assert exif.get_ifd(0x8769)[0x927C] == b"maker's own notes"
    assert exif.get_ifd(0x8825)[2] == (52.0, 30.0, 0.0)
    assert exif.get(0x0112, 1) == 1


def test_exif_changes_by_its_orientation_only(tmp_path):
    exif = stream_with(8)
    Image.fromarray(smooth()).save(tmp_path / "a.png", exif=exif)
    kept = read(tmp_path / "a.png").exif
    assert sum(a != b for a, b in zip(exif, kept, strict=True)) == 1


@pytest.mark.parametrize(
    "bad", [b"", b"junk", b"II*\0", b"MM\0*\0\0\0\x08\0\x09", b"II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_does_no_harm(tmp_path, bad):
    for suffix in (".png", ".tif", ".jpg", ".webp"):
        back = there_and_back(Picture(smooth(), exif=bad), tmp_path / f"a{suffix}")
        assert back.pixels.shape == (24, 20, 3)


@pytest.mark.parametrize("suffix", SUFFIXES[:4])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_profile_survives(tmp_path, suffix, has_alpha, dtype):
    kinds = {".png": PNG_TYPES, ".tif": TIFF_TYPES}.get(suffix, ["uint8"])
    if dtype not in kinds or (has_alpha and suffix == ".jpg"):
        return
    alpha = noise((24, 20), dtype) if has_alpha else None
    picture = Picture(noise((24, 20, 3), dtype), alpha, icc=ICC, exif=stream_with(1))
    back = there_and_back(picture, tmp_path / f"a{suffix}")
    assert back.icc == ICC
    assert back.exif is not None
    if dtype == "uint8":
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert image.info["icc_profile"] == ICC


def test_a_large_profile_survives(tmp_path):
    icc = ICC + noise(200_000).tobytes()
    for suffix in SUFFIXES[:4]:
        assert there_and_back(Picture(smooth(), icc=icc), tmp_path / f"a{suffix}").icc == icc


@pytest.mark.parametrize("suffix", SUFFIXES[:4])
def test_xmp_survives_upright(tmp_path, suffix):
    picture = Picture(smooth(), xmp=XMP, exif=stream_with(6))
    back = there_and_back(picture, tmp_path / f"a{suffix}")
    assert back.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
def test_resolution_survives(tmp_path, suffix):
    for resolution in (Resolution(300, 150, "inch"), Resolution(118, 50, "centimetre")):
        back = there_and_back(Picture(smooth(), resolution=resolution), tmp_path / f"a{suffix}")
        assert back.resolution.per_inch == pytest.approx(resolution.per_inch, rel=4e-3)


def test_pngs_own_chunks_survive(tmp_path):
    write(tmp_path / "a.png", Picture(smooth()))
    data = (tmp_path / "a.png").read_bytes()
    text = zlib.compress(b"a long story")
    chunks = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", struct.pack(">8I", *range(8))),
        (b"tEXt", b"Title\0A meadow"),
        (b"zTXt", b"Comment\0\0" + text),
        (b"tIME", b"\x07\xe8\1\1\0\0\0"),
    ]
    (tmp_path / "a.png").write_bytes(data[:33] + b"".join(map(chunk, chunks)) + data[33:])
    back = there_and_back(read(tmp_path / "a.png"), tmp_path / "b.png")
    assert back.png_chunks == tuple(chunks[:4])
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["gamma"] == 0.45455
        assert image.text == {"Title": "A meadow", "Comment": "a long story"}


def chunk(kind_and_body, checksum=None):
    kind, body = kind_and_body
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def test_a_damaged_profile_is_left_out(tmp_path):
    write(tmp_path / "a.png", Picture(smooth()))
    data = (tmp_path / "a.png").read_bytes()
    bomb = zlib.compress(bytes(2**27), 9)
    for body in (
        b"",
        b"name",
        b"name\0\0junk",
        b"name\0\0" + zlib.compress(ICC)[:-9],
        b"n\0\0" + bomb,
    ):
        (tmp_path / "a.png").write_bytes(data[:33] + chunk((b"iCCP", body)) + data[33:])
        assert read(tmp_path / "a.png").icc is None
    (tmp_path / "a.png").write_bytes(data[:33] + chunk((b"eXIf", b"II*\0"), 1) + data[33:])
    assert read(tmp_path / "a.png").exif is None


def test_what_jpeg_cannot_hold_is_left_out_and_logged(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    picture = Picture(smooth(), exif=exif.tobytes().removeprefix(b"Exif\0\0"), xmp=b" " * 70_000)
    back = there_and_back(picture, tmp_path / "a.jpg")
    assert (back.exif, back.xmp) == (None, None)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


# --- bad files ------------------------------------------------------------------------------------


def sample_files(tmp_path):
    plain = Picture(smooth(), icc=ICC[:200], exif=stream_with(1), xmp=XMP)
    for suffix in SUFFIXES:
        path = tmp_path / f"whole{suffix}"
        write(path, plain, overwrite=True)
        yield path
    tifffile.imwrite(
        tmp_path / "j.tif", smooth(48, 48), photometric="rgb", compression="jpeg", tile=(16, 16)
    )
    yield tmp_path / "j.tif"
    tifffile.imwrite(tmp_path / "u.tif", smooth().astype(">f4"), photometric="rgb", bigtiff=True)
    yield tmp_path / "u.tif"


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    for whole in sample_files(tmp_path):
        data, expected = whole.read_bytes(), read(whole)
        path = tmp_path / f"cut{whole.suffix}"
        for length in [*range(0, len(data), max(1, len(data) // 97)), len(data) - 1]:
            path.write_bytes(data[:length])
            # TIFF may end in EXIF and BMP in zeros that fill up a row: the picture is whole.
            if whole.suffix in (".tif", ".bmp") and length > 0.9 * len(data):
                with contextlib.suppress(InputError):
                    same(read(path), expected)
            else:
                refused(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path, data):
    path = tmp_path / "damaged"
    for whole in sample_files(tmp_path):
        content = bytearray(whole.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            # Mostly the first bytes: there the structure is.
            end = data.draw(st.sampled_from([64, 400, len(content)]))
            at = data.draw(st.integers(0, min(end, len(content)) - 1))
            content[at] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            read(path, max_pixels=10**6)
        except InputError as error:
            message = str(error)
        else:
            message = ""
        assert len(message.splitlines()) <= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"BM"]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_are_refused(tmp_path, beginning, rest):
    (tmp_path / "a").write_bytes(beginning + rest)
    refused(tmp_path / "a")


def test_missing_files_folders_and_others(tmp_path):
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path / "no" / "folder.png", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.png").write_text("hello there, this is text")
    refused(tmp_path / "text.png", "PNG, TIFF, JPEG, WebP, BMP")
    with pytest.raises(InputError, match="cannot be read"):
        read("a\0b.png")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "no regular file")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    write(tmp_path / "a.png", Picture(smooth()))

    def deny(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    refused(tmp_path / "a.png", "permissions")


def test_a_name_of_any_bytes_gives_one_printable_line(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path / "two\nlines\udcff.png")
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_too_many_pixels(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", Picture(smooth()))
    refused(tmp_path / f"a{suffix}", "20x24", "480", "479", max_pixels=479)
    assert read(tmp_path / f"a{suffix}", max_pixels=480).pixels.shape == (24, 20, 3)


def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path):
    header = struct.pack(">IIBBBBB", 2**20, 2**20, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks)))
    refused(tmp_path / "a.png", "1048576x1048576")


def test_no_pixels(tmp_path):
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 0, 0, 0, 0)),
        (b"IDAT", b""),
        (b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks)))
    refused(tmp_path / "a.png", "no pixels (0x5)")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_must_be_finite(tmp_path, value):
    pixels = noise((5, 7, 3), "float32")
    pixels[0, :2, 1] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    refused(tmp_path / "a.tif", "2 of its values are NaN or infinite")
    alpha = pixels[..., 1]
    tifffile.imwrite(
        tmp_path / "a.tif", np.dstack([np.ones_like(alpha), alpha]), photometric="minisblack",
        planarconfig="contig", extrasamples=["unassalpha"],
    )  # fmt: skip
    refused(tmp_path / "a.tif", "2 of its values")


def test_directories_in_a_circle(tmp_path):
    write(tmp_path / "a.tif", Picture(smooth()))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<L", data, first + 2 + 12 * count, first)
    (tmp_path / "a.tif").write_bytes(data)
    refused(tmp_path / "a.tif", "circle")


def test_nothing_is_printed_warned_or_logged(tmp_path, capfd, caplog, recwarn):
    wholes = list(sample_files(tmp_path))
    caplog.clear()
    for whole in wholes:
        read(whole)
        data = whole.read_bytes()
        for length in (30, 90, 250, len(data) * 2 // 3):
            (tmp_path / "cut").write_bytes(data[:length])
            refused(tmp_path / "cut")
            write(tmp_path / f"again{whole.suffix}", read(whole), overwrite=True)
    assert (tuple(capfd.readouterr()), caplog.records, list(recwarn)) == (("", ""), [], [])


# --- writing --------------------------------------------------------------------------------------


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def raiser(error):
    def fail(*_args, **_options):
        raise error

    return fail


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("pathlib.Path.replace", OSError(errno.EIO, "Input/output error")),
        ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
        ("os.fsync", KeyboardInterrupt()),
        ("pathlib.Path.replace", KeyboardInterrupt()),
        ("imagecodecs.png_encode", RuntimeError("the encoder broke")),
        ("imagecodecs.png_encode", MemoryError()),
    ],
    ids=str,
)
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, monkeypatch, existing, where, error):
    path = tmp_path / "a.png"
    if existing:
        write(path, Picture(smooth()))
    before = contents(tmp_path)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RunError
    with monkeypatch.context() as patch:
        patch.setattr(where, raiser(error))
        with pytest.raises(expected) as caught:
            write(path, Picture(noise((9, 9))), overwrite=True)
    assert contents(tmp_path) == before
    if expected is RunError:
        assert len(str(caught.value).splitlines()) == 1
        assert str(path) in str(caught.value)
        assert "try" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path, monkeypatch):
    real = Path.open

    def full(self, mode="r", *args, **options):
        return real(
            Path("/dev/full") if mode == "xb" else self, mode.replace("x", "w"), *args, **options
        )

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(RunError, match="No space left"):
        write(tmp_path / "a.png", Picture(smooth()))
    assert contents(tmp_path) == {}


def unwritable(path, dtype="uint8", channels=3, **options):
    with pytest.raises(InputError) as caught:
        check_writable(path, dtype, channels, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    return message


def test_existing_files_are_kept_unless_allowed(tmp_path):
    write(tmp_path / "a.png", Picture(smooth()))
    before = contents(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "a.png", Picture(noise((5, 5))))
    assert contents(tmp_path) == before
    write(tmp_path / "a.png", Picture(noise((5, 5))), overwrite=True)
    assert read(tmp_path / "a.png").pixels.shape == (5, 5)


def test_where_no_file_can_be_written(tmp_path, monkeypatch):
    assert "no folder" in unwritable(tmp_path / "none" / "a.png")
    (tmp_path / "d.png").mkdir()
    assert "is a folder" in unwritable(tmp_path / "d.png", overwrite=True)
    (tmp_path / "file").touch()
    assert "no folder" in unwritable(tmp_path / "file" / "a.png")
    with pytest.raises(InputError):
        check_writable("a\0.png", "uint8", 3)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "read-only" in unwritable(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "dtype", "options", "says"),
    [
        ("a.jpg", "uint16", {}, "JPEG cannot hold uint16 pixels; try .png or .tif"),
        ("a.jpg", "uint8", {"has_alpha": True}, "with alpha; try .png or .tif or .webp or .bmp"),
        ("a.png", "float32", {}, "PNG cannot hold float32 pixels; try .tif"),
        ("a.webp", "uint16", {}, "try .png or .tif"),
        ("a.bmp", "float64", {"has_alpha": True}, "try .tif"),
        ("a.tif", "complex64", {}, "try another type (float16"),
        ("a.tif", "bool", {}, "try another type"),
        ("a.webp", "uint8", {"size": (20_000, 9)}, "20000x9 uint8 pixels; try .png"),
        ("a.jpg", "uint8", {"size": (9, 70_000)}, "try .png or .tif"),
        ("a.pgn", "uint8", {}, "did you mean '.png'"),
        ("a.gif", "uint8", {}, "'.gif'"),
        ("a", "uint8", {}, "no suffix"),
        ("a.png", "uint8", {"channels": 2}, "1 or 3 colours"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, name, dtype, options, says):
    assert says in unwritable(tmp_path / name, dtype, **options)


def test_what_can_be_written(tmp_path):
    for suffix, form in ((".png", "PNG"), (".TIFF", "TIFF"), (".jpe", "JPEG"), (".webp", "WebP")):
        path = tmp_path / f"a{suffix}"
        assert check_writable(path, np.uint8, 3, size=(9, 9)) == form
    assert contents(tmp_path) == {}


def test_nothing_is_reduced_on_writing(tmp_path):
    for path, dtype in ((tmp_path / "a.jpg", "uint16"), (tmp_path / "a.png", "float32")):
        with pytest.raises(InputError, match="cannot hold"):
            write(path, Picture(noise((5, 5, 3), dtype)))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("alpha", [noise((5, 6)), noise((5, 5), "uint16"), noise((5, 5, 1))])
def test_alpha_must_fit_the_pixels(tmp_path, alpha):
    with pytest.raises(InputError, match="alpha is"):
        write(tmp_path / "a.png", Picture(noise((5, 5, 3)), alpha))


def test_a_link_is_followed_and_its_permissions_kept(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.png", tmp_path / "link.png"
    write(target, Picture(smooth()))
    target.chmod(0o600)
    link.symlink_to(target)
    write(link, Picture(noise((5, 5))), overwrite=True)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert read(target).pixels.shape == (5, 5)


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write(tmp_path / "a.png", Picture(smooth()))
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_longest_name_can_be_written(tmp_path):
    name = "x" * 251 + ".png"
    write(tmp_path / name, Picture(smooth()))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_same_file(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    (tmp_path / "soft").symlink_to(tmp_path / "a")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    for spelling in ("a", "./a", tmp_path / "a", "soft", "hard", f"../{tmp_path.name}/a"):
        assert same_file(tmp_path / "a", spelling)
    assert not same_file("a", "b")
    assert not same_file("a", "none")
    assert same_file("none", tmp_path / "none")


# --- integers and floats --------------------------------------------------------------------------

INTEGERS = ["uint8", "uint16", "int8", "int16"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_of_up_to_16_bits_comes_back(dtype):
    limits = np.iinfo(dtype)
    every = np.arange(limits.min, limits.max + 1).astype(dtype)
    floats = to_float(every)
    assert floats.dtype == np.float32
    assert floats.max() == 1
    np.testing.assert_array_equal(from_float(floats, dtype), every)


def test_other_integers_come_back_nearly():
    for dtype in ("uint32", "int32"):
        pixels = noise(1000, dtype)
        pixels[:2] = np.iinfo(dtype).max, 0
        back = from_float(to_float(pixels), dtype)
        assert back[:2].tolist() == pixels[:2].tolist()
        np.testing.assert_allclose(back.astype(float), pixels.astype(float), rtol=1e-7)


def test_bools():
    bits = np.array([True, False])
    assert to_float(bits).tolist() == [1, 0]
    np.testing.assert_array_equal(from_float(to_float(bits), bool), bits)


@given(
    st.lists(st.floats(-3, 3), min_size=1), st.sampled_from(["uint8", "uint16", "uint32", "int16"])
)
def test_integers_are_the_nearest_within_range(values, dtype):
    limits = np.iinfo(dtype)
    lowest = limits.min if limits.min < 0 else 0
    expected = [min(max(round(value * limits.max), lowest), limits.max) for value in values]
    assert from_float(np.array(values), dtype).tolist() == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_kept(dtype):
    pixels = np.array([-2.5, 0, 0.125, 1, 7], dtype)
    assert to_float(pixels).tolist() == pixels.tolist()
    back = from_float(to_float(pixels), dtype)
    assert back.dtype == dtype
    assert back.tolist() == pixels.tolist()


def test_to_float_is_a_copy():
    pixels = np.zeros(3, np.float32)
    to_float(pixels)[0] = 1
    assert pixels[0] == 0


def test_what_has_no_float():
    for dtype in ("uint64", "complex64"):
        with pytest.raises(InputError, match=dtype):
            to_float(np.zeros(3, dtype))
        with pytest.raises(InputError, match=dtype):
            from_float(np.zeros(3), dtype)
    with pytest.raises(InputError, match="float32"):
        to_float(np.array([1e300]))
    with pytest.raises(InputError, match="NaN"):
        from_float(np.array([np.nan]), "uint8")
