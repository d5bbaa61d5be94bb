"""Read and write picture files; every failure is one line that says what to try."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from guided_dip.errors import InputError, RunError
from guided_dip.files import write_whole
from guided_dip.images import formats, tiff
from guided_dip.images.picture import Format, Picture, RefusedError, joined, upright
from guided_dip.words import one_line

DEFAULT_MAX_PIXELS = 2**28  # 268 million, over 3 GB of float32 colour

StrPath = str | os.PathLike[str]


def read(
    path: StrPath,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    page: int | None = None,
    nan_as_missing: bool = False,
    turned: bool = True,
) -> Picture:
    """Read a picture file, upright.

    Parameters
    ----------
    path
        A PNG, JPEG, TIFF, WebP, BMP or FITS file; its content decides which, not its name.
    max_pixels
        Refuse a picture of more pixels, before any is decoded.
    page
        Which page of a TIFF or FITS file, from 0; None for a file that has only one.
    nan_as_missing
        Let NaN pixels stay, and infinite ones become NaN.
    turned
        Put it upright; False: leave its pixels as the file has them.

    Returns
    -------
    Picture
        In the file's own type. Palettes become RGB, fewer than 8 bits become 8 and 9 to 15
        become 16 (white stays white), a transparent colour becomes alpha, EXIF's orientation is
        applied.

    Raises
    ------
    InputError
        If there is no such file, or it is no picture, damaged, CMYK, an animation or a stack, too
        large, or has NaN or infinite pixels (with `nan_as_missing`: no others).
    """
    path = Path(path)
    data, form = _bytes_of(path)
    with _told(path, form), hushed():
        picture = formats.decoded(data, form, max_pixels, page)
        return _finite(upright(picture) if turned else picture, nan_as_missing=nan_as_missing)


def read_stack(
    path: StrPath,
    pages: int,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    nan_as_missing: bool = False,
) -> Picture:
    """Read the pages of a TIFF file as one picture in which they lie below one another.

    Parameters
    ----------
    path
        The file.
    pages
        How many it has.
    max_pixels, nan_as_missing
        As for `read`; all pages together.

    Returns
    -------
    Picture
        With all that the first page has besides pixels and alpha.

    Raises
    ------
    InputError
        As `read`, and if the pages differ in size, type or channels.
    """
    path = Path(path)
    data, form = _bytes_of(path)
    with _told(path, form), hushed():
        there = tiff.count_pages(data) if form == "TIFF" else 1
        if there != pages:
            raise RefusedError(f"has {there} pages, not {pages}; try a stack of as many")
        read_pages = []
        for page in range(pages):
            picture = upright(formats.decoded(data, form, max_pixels, page))
            height, width = picture.pixels.shape[:2]
            if pages * height * width > max_pixels:
                problem = f"{pages} pages of {width}x{height} are more than the {max_pixels:,}"
                raise RefusedError(
                    f"{problem} pixels allowed; try --max-pixels {pages * height * width}"
                )
            read_pages.append(_finite(picture, nan_as_missing=nan_as_missing))
        return joined(read_pages)


@contextlib.contextmanager
def _told(path: Path, form: str) -> Iterator[None]:
    """Say of what goes wrong in reading a file what it was."""
    try:
        yield
    except RefusedError as refusal:
        raise _input_error(path, str(refusal)) from None
    except Exception as error:  # decoders fail in ways of their own, and no bytes may crash us
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        problem = f"damaged or unusual {form} ({why}); try saving it anew"
        raise _input_error(path, problem) from error


def write(path: StrPath, picture: Picture, *, overwrite: bool = False) -> None:
    """Write a picture file, whole or not at all.

    Parameters
    ----------
    path
        Its suffix names the format: .png, .tif, .jpg (quality 95, 4:4:4), .webp (lossless), .bmp.
    picture
        What to write; its pixels are never reduced to fit a format. Profile, EXIF, XMP and
        resolution go along where the format has a place for them.
    overwrite
        Replace a file that exists.

    Raises
    ------
    InputError
        As `check_writable`, and if alpha is not of the pixels' type and size.
    RunError
        If the disk is full or writing fails otherwise; nothing is left behind.
    """
    path = Path(path)
    pixels, alpha = picture.pixels, picture.alpha
    height, width = pixels.shape[:2]
    if alpha is not None and (alpha.dtype.name, alpha.shape) != (
        pixels.dtype.name,
        (height, width),
    ):
        problem = f"alpha is {alpha.dtype} {alpha.shape}, pixels are {pixels.dtype} {pixels.shape}"
        raise _input_error(path, f"{problem}; try the alpha that was read")
    form = check_writable(
        path,
        pixels.dtype,
        picture.channels,
        has_alpha=alpha is not None,
        overwrite=overwrite,
        size=(width, height),
    )
    try:
        with hushed():
            data = formats.encoded(picture, form)
    except Exception as error:  # encoders fail in ways of their own
        problem = f"cannot be written as {form} ({type(error).__name__}: {error})"
        raise RunError(one_line(f"{path}: {problem}; try another format")) from error
    write_whole(path, data)


def count_pages(path: StrPath) -> int:
    """Count the pages of a picture file: of a TIFF file its pictures, of others one.

    Parameters
    ----------
    path
        The file; one that cannot be read has a page, about which `read` says more.

    Returns
    -------
    int
    """
    data, form = _bytes_of(Path(path))
    if form != "TIFF":
        return 1
    try:
        return max(1, tiff.count_pages(data))
    except Exception:
        return 1


def write_stack(
    path: StrPath, pictures: Sequence[Picture], *, like: StrPath, overwrite: bool = False
) -> None:
    """Write pictures as the pages of a TIFF file, whole or not at all.

    Parameters
    ----------
    path
        A .tif or .tiff file.
    pictures
        Its pages; profile and resolution go along.
    like
        The stack that they came from: what OME or ImageJ say of it goes along, if the pages are of
        its size and type.
    overwrite
        Replace a file that exists.

    Raises
    ------
    InputError
        As `check_writable`, and if the suffix names another format.
    RunError
        If the disk is full or writing fails otherwise; nothing is left behind.
    """
    path = Path(path)
    check_stack_writable(path, overwrite=overwrite)
    data, _ = _bytes_of(Path(like))
    first, pixels = read(like, page=0, nan_as_missing=True).pixels, pictures[0].pixels
    alike = (first.dtype, first.shape) == (pixels.dtype, pixels.shape)
    try:
        with hushed():
            written = tiff.encode_stack(pictures, tiff.stack_description(data) if alike else None)
    except Exception as error:
        problem = f"cannot be written as a stack ({type(error).__name__}: {error})"
        raise RunError(one_line(f"{path}: {problem}; try its pages one by one")) from error
    write_whole(path, written)


def check_stack_writable(path: StrPath, *, overwrite: bool = False) -> None:
    """Find out whether `write_stack` can write to a place.

    Parameters
    ----------
    path, overwrite
        As for `write_stack`.

    Raises
    ------
    InputError
        If not.
    """
    form = check_writable(path, np.uint8, 1, overwrite=overwrite)
    if form != "TIFF":
        raise _input_error(Path(path), f"{form} has no pages; try .tif, or one of them by --page")


def check_writable(
    path: StrPath,
    dtype: DTypeLike,
    channels: int,
    *,
    has_alpha: bool = False,
    overwrite: bool = False,
    size: tuple[int, int] | None = None,
) -> Format:
    """Find out whether `write` will be able to write, before an hour of computing.

    Parameters
    ----------
    path
        Where to write.
    dtype
        Of the pixels.
    channels
        Of colour: 1 or 3.
    has_alpha
        There is an alpha channel besides.
    overwrite
        Replacing a file is allowed.
    size
        (width, height) in pixels, where known.

    Returns
    -------
    str
        The format that the suffix names.

    Raises
    ------
    InputError
        If the suffix is unknown, its format cannot hold such pixels, the folder is missing or
        read-only, or the file exists and may not be replaced.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise RefusedError("is a folder; try naming a file in it")
        form = formats.named(path)
        if channels not in (1, 3):
            raise RefusedError(f"a picture has 1 or 3 colours, not {channels}; try gray or RGB")
        formats.check_holds(form, np.dtype(dtype).name, channels, has_alpha, size)
        _check_place(path, overwrite)
    except RefusedError as refusal:
        raise _input_error(path, str(refusal)) from None
    except (OSError, ValueError) as error:  # ValueError: a null in the name
        raise _input_error(path, f"cannot be written ({error}); try another name") from None
    return form


def same_file(a: StrPath, b: StrPath) -> bool:
    """Tell whether two paths are one file, through links and spellings; either may not exist.

    Parameters
    ----------
    a, b
        The paths.

    Returns
    -------
    bool
    """
    try:
        return Path(a).samefile(b)
    except (OSError, ValueError):
        return os.path.realpath(a) == os.path.realpath(b)


def _bytes_of(path: Path) -> tuple[bytes, Format]:
    """Read a file whole, once its beginning looks like a picture."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise RefusedError("is a folder; try one of the files in it")
        if not stat.S_ISREG(kind):  # reading a pipe could wait for ever
            raise RefusedError("is no regular file; try saving it to disk first")
        with path.open("rb") as file:
            head = file.read(16)
            form = formats.sniff(head)
            if not head:
                raise RefusedError("the file is empty; try to get it again")
            if form is None:
                known = ", ".join(formats.FORMATS)
                raise RefusedError(f"not a picture of a known format; try one of: {known}")
            return head + file.read(), form
    except RefusedError as refusal:
        raise _input_error(path, str(refusal)) from None
    except FileNotFoundError:
        raise _input_error(path, "no such file; try checking the name") from None
    except PermissionError:
        raise _input_error(path, "may not be read; try changing its permissions") from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null in the name
        reason = getattr(error, "strerror", None) or str(error) or "too large for the memory"
        raise _input_error(path, f"cannot be read ({reason}); try another file") from error


def _finite(picture: Picture, *, nan_as_missing: bool) -> Picture:
    """Refuse pixels that are no numbers, or let NaN stand for them."""
    if picture.pixels.dtype.kind != "f":
        return picture
    finite = np.isfinite(picture.samples)
    if finite.all():
        return picture
    odd = f"{finite.size - int(finite.sum())} of its values are NaN or infinite"
    if not nan_as_missing:
        raise RefusedError(f"{odd}; try replacing them, or --nan-as-missing to fill them in")
    finite = np.isfinite(picture.pixels)
    if not finite.any() or (picture.alpha is not None and not np.isfinite(picture.alpha).all()):
        raise RefusedError(f"{odd}, too many to fill in; try another file")
    return replace(picture, pixels=np.where(finite, picture.pixels, np.nan))


def _check_place(path: Path, overwrite: bool) -> None:
    """Refuse a place where no file can be put."""
    if path.exists() and not overwrite:
        raise RefusedError("exists already; try another name, or --overwrite to replace it")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise RefusedError(f"there is no folder '{folder}'; try creating it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedError(f"the folder '{folder}' is read-only; try another")


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep other libraries' remarks from the user: what matters in them becomes an error here."""
    log = logging.getLogger("tifffile")

    def nothing(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeFilter(nothing)


def _input_error(path: Path, problem: str) -> InputError:
    return InputError(one_line(f"{path}: {problem}"))
