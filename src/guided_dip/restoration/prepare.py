"""Checks before a run, and what a config leaves to the image and to the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from guided_dip import backbones
from guided_dip import config as configs
from guided_dip.config import Config
from guided_dip.engine import resolve_device, resolve_precision, thread_count, to_array, to_tensor
from guided_dip.errors import InputError
from guided_dip.grain import Grain
from guided_dip.images import to_float
from guided_dip.images.resize import resize_square
from guided_dip.jpeg import Tables
from guided_dip.memory import total_memory
from guided_dip.noise import LEAST_SIGMA, NoiseModel, parse_noise
from guided_dip.restoration.known import Known
from guided_dip.restoration.noise import noise_of
from guided_dip.restoration.run import Restoration
from guided_dip.restoration.span import Span, span_of
from guided_dip.result import Record, Result
from guided_dip.sizing import PATCH_MULTIPLE, WHOLE, parse_bytes, told_bytes
from guided_dip.tasks import DENOISE, Task
from guided_dip.white import Extremes, extremes_of, find_white

USUAL_CHANNELS = 4  # more than these are not taken for one image if they outnumber its pixels
FEWEST_STEPS = 10  # that are worth taking
SMOOTHING = 2.0  # pixels, of a measurement whose noise goes with its light
NOTHING = Known()
# What is filled in smoothly is made better, and not made anew.
FILLED_IN: Mapping[str, Any] = MappingProxyType({"final": "residual"})
MEMORY_SHARE = 0.5  # of the machine's, where none is stated
MARGIN = 0.9  # of a time budget: the rest is for a pace that is never quite even


def restore(
    image: NDArray[Any],
    *,
    effort: str = "balanced",
    preset: str | None = None,
    mask: NDArray[Any] | None = None,
    kernel: str | NDArray[Any] | None = None,
    tables: Tables | None = None,
    gain: NDArray[Any] | None = None,
    operator: Any = None,
    image_shape: tuple[int, ...] | None = None,
    clean: NDArray[Any] | None = None,
    time_budget: float | None = None,
    on_step: Callable[[Record], None] | None = None,
    **settings: Any,
) -> Result:
    """Restore one noisy image.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
        Integers (white is the type's largest value, or, of dim ones of more than 8 bits, that of
        the fewest bits that hold them) or floats (1.0 is white; values beyond are kept);
        ``white=4095`` states another. Not modified. NaN is refused unless ``nan_as_missing=True``:
        then such pixels are filled in.
    effort
        ``fast``, ``balanced`` or ``best``: the one dial between time and quality.
    preset
        ``report`` or ``author``, the report's experiment, instead of an effort.
    mask : (H, W) array, optional
        Where pixels are missing: they are filled in, whatever is there. The others stay exactly as
        they are, unless `noise` says that they have some. This and each of the next four is for a
        task, which need not be named beside it.
    kernel : str or (Kh, Kw) array, optional
        The blur that ``task="deblur"`` undoes: ``"gaussian:SIGMA"``, ``"motion:LENGTH,ANGLE"``, or
        an array of odd sides.
    tables
        Of the file that ``task="dejpeg"`` is to improve: `guided_dip.jpeg.read_tables`.
    gain : (H, W) or (H, W, C) array, optional
        By which each pixel was multiplied, for ``task="degain"``; 0 where nothing was measured.
    operator
        What ``task="invert"`` undoes: a linear function of a tensor (1, C, H, W) that returns
        another such, or an object with ``A`` and, if it has one, ``A_adjoint``, as deepinv's
        physics. Its noise has to be stated.
    image_shape
        Of the image that the operator takes, (H, W) or (H, W, C); None: its adjoint tells, or it is
        the measurement's.
    clean : array of the result's shape, optional
        Scores the records and the result; changes nothing else. Of the image's type, it is in its
        units; of another, its white is that type's.
    time_budget
        Seconds that the run may take: plans no more steps than fit.
    on_step
        Called with the `Record` of each step.
    **settings
        Any field of `Config`, such as ``noise="gaussian:25"``, ``seed=1`` or ``steps=500``.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If the image or a setting is not usable.
    RunError
        If the fit fails on the way.

    Examples
    --------
    >>> import numpy as np
    >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (32, 32)).astype("float32")
    >>> restore(noisy, noise="gaussian:25", steps=2, backbone_options={"width": 4}).image.shape
    (32, 32)
    """
    if isinstance(kernel, str):
        settings = {"task": "deblur", "kernel": kernel} | settings
        kernel = None
    known = Known(mask, kernel, tables, gain, operator, image_shape)
    settings = {"task": known.name} | settings
    chosen = configs.make_config(settings, preset=effort if preset is None else preset)
    prepared = prepare(image, chosen, known, clean=clean, time_budget=time_budget)
    return prepared.run(on_step)


def prepare(
    image: NDArray[Any],
    config: Config,
    known: Known = NOTHING,
    *,
    clean: NDArray[Any] | None = None,
    time_budget: float | None = None,
    extremes: Extremes | None = None,
) -> Restoration:
    """Check the image and fill in what the config leaves to it and to the machine.

    Parameters
    ----------
    image, clean, time_budget
        As for `restore`.
    config
        Settings.
    known
        What is known besides.
    extremes
        Between which values all of what the image is a part of lies, by which white is found; None:
        the image's own.

    Returns
    -------
    Restoration
        Ready to run; its ``config`` has everything filled in.

    Raises
    ------
    InputError
        If the image or a setting is not usable, or the time budget allows too few steps.
    """
    with thread_count(config.threads):
        config, said = _with_white(np.asarray(image), config, known, extremes)
        restoration = _prepared(image, config, known, clean, time_budget)
    restoration.note = "; ".join(filter(None, (said, restoration.note)))
    return restoration


def _with_white(
    image: NDArray[Any], config: Config, known: Known, extremes: Extremes | None
) -> tuple[Config, str]:
    """Return the config with the image's white, and what to tell of it.

    What is missing says nothing about it: the result does not depend on what is there.
    """
    if config.task == "dejpeg":  # what is known of a file's rounding is so in its own values
        if config.white_value is not None:
            raise InputError("white is known of a JPEG file, which dejpeg is for: leave it out")
        return config.replace(white="type"), ""
    if config.white == "auto" and (extremes is None or extremes.dtype != image.dtype.name):
        extremes = extremes_of(image, known.mask)
    white, said = find_white(config.white, image.dtype, extremes)
    return config.replace(white=white), said


def _prepared(
    image: NDArray[Any],
    config: Config,
    known: Known,
    clean: NDArray[Any] | None,
    time_budget: float | None,
) -> Restoration:
    white = config.white_value
    pixels = _checked(image, "image", white, nan_as_missing=config.nan_as_missing)
    of_clean = white if _in_one_unit(image, clean) else None
    reference = None if clean is None else _checked(clean, "clean image", of_clean)
    if config.resize is not None and (config.task != "denoise" or known.mask is not None):
        raise InputError("resize is for the task denoise, on a whole image: leave it out")
    _check_pages(config, pixels)
    missing = _missing(pixels, known.mask)
    if config.task == "inpaint" and missing is None:
        raise InputError("no pixel is missing: give a mask of those that are to be filled in")
    if config.task not in ("denoise", "inpaint") and missing is not None:
        raise InputError(
            f"the task {config.task} is for an image without missing pixels: fill them in before"
        )
    task = known.task(config, pixels)
    first = _first(task, pixels)
    wanted = pixels.shape if first is None else first.shape
    if reference is not None and reference.shape != wanted:
        raise InputError(f"the clean image's shape {reference.shape} is not the image's {wanted}")
    if config.resize is not None:
        if missing is not None:
            raise InputError("an image with missing pixels cannot be resized: leave out one")
        image = resize_square(image, config.resize)
        if clean is not None:
            reference = _checked(resize_square(clean, config.resize), "", of_clean)
        pixels = _checked(image, "image", white)
    noise, grain, note = _noise_of(task, pixels, missing, config)
    if task.weakest is not None:
        config = config.replace(a_end=config.a_end or task.weakest)
    if config.grain == "auto":
        config = config.replace(grain="white" if grain is None else "correlated")
    if missing is not None:
        pixels = _filled(pixels, missing)
        small = missing.size <= WHOLE and config.pages == 1
        if small and config.patch is None and config.max_memory is None:
            config = config.replace(patch=0)
    if not task.parted:
        config = config.replace(patch=0, tile=0)
    dtype = np.dtype(np.float32) if image.dtype.kind == "f" else image.dtype
    # Floats times white and over it can end beside themselves; where nothing is done, they do not.
    given = image if image.dtype.kind == "f" and white is not None and first is None else None
    span = _span_of(task, pixels, first, noise, grain)
    shape = known.image_shape or _shape_of(pixels if first is None else first, image)

    def ready(config: Config) -> Restoration:
        network = FILLED_IN if missing is not None and span.sigma < LEAST_SIGMA else task.network
        resolved = _resolved(config, pixels, span.sigma, noise, network, max(task.reach))
        restoration = Restoration(
            resolved,
            pixels,
            dtype,
            shape,
            noise,
            reference,
            missing,
            span,
            note,
            task,
            first,
            given,
        )
        if task is not DENOISE and not resolved.tile:
            _check_memory(restoration)
        return restoration

    restoration = ready(config)
    if time_budget is None:
        return restoration
    steps = _affordable(time_budget, restoration)
    return restoration if steps is None else ready(config.replace(steps=steps))


def _resolved(
    config: Config,
    pixels: NDArray[np.float32],
    sigma: float,
    noise: NoiseModel | None,
    network: Mapping[str, Any],
    reach: int,
) -> Config:
    """Fill in what a config leaves to the image and to the machine."""
    device = resolve_device(config.device)
    backbone = backbones.find(config.backbone)
    if config.supervision == "recorrupted-guides" and not backbone.sees_input:
        raise InputError(
            f"{config.backbone} makes an image from noise and cannot follow recorrupted guides: "
            "try --supervision observation"
        )
    jitter = backbone.jitter if config.jitter is None else config.jitter
    height, width, channels = pixels.shape
    rows = height // config.pages
    if config.patch and config.patch > min(rows, width):
        raise InputError(
            f"patch ({config.patch}) is larger than the image of {width}x{rows} pixels: try a "
            "smaller one, or 0 for the whole image"
        )
    photons = None if noise is None else noise.photons(pixels)
    config = config.replace(
        noise=config.noise if noise is None or config.noise != "auto" else str(noise),
        device=str(device),
        precision=resolve_precision(config.precision, device),
        threads=config.threads or torch.get_num_threads(),
        jitter=jitter,
    )
    return configs.fill_in(
        config,
        size=(height, width),
        channels=channels,
        sigma=sigma,
        photons=photons,
        memory=_usual_memory(str(device)),
        network=network,
        reach=reach,
    )


def _usual_memory(device: str) -> int | None:
    """Return what a run may take where nothing is stated, in bytes; None if nobody knows."""
    there = total_memory(device)
    return None if there is None else int(there * MEMORY_SHARE)


def _check_pages(config: Config, pixels: NDArray[np.float32]) -> None:
    """Refuse pages below one another that cannot be restored together."""
    if config.pages == 1:
        return
    height, width, _ = pixels.shape
    if height % config.pages:
        raise InputError(f"{height} rows are no {config.pages} pages of one height")
    if config.task not in ("denoise", "inpaint") or config.resize is not None:
        raise InputError(
            "pages are restored together in the tasks denoise and inpaint, in their own size: "
            "restore them one by one"
        )
    if min(height // config.pages, width) < PATCH_MULTIPLE:
        raise InputError(
            f"pages of {width}x{height // config.pages} pixels are too small to be restored "
            f"together: restore them one by one, or give {PATCH_MULTIPLE} pixels a side"
        )
    if 0 in (config.patch, config.tile) or config.patch_guides not in (None, config.count):
        raise InputError(
            "pages are restored together on squares and in tiles of them: leave out patch, "
            "patch_guides and tile"
        )


def _check_memory(restoration: Restoration) -> None:
    """Refuse an image that is too large for a task to be done on the whole of it."""
    config = restoration.config
    stated = config.max_memory
    limit = _usual_memory(config.device) if stated is None else parse_bytes(stated)
    width = (config.backbone_options or {}).get("width")
    if limit is None or config.backbone != "normfree" or not isinstance(width, int):
        return
    needed = restoration.memory_needed
    if needed > limit:
        height, across, _ = restoration.pixels.shape
        raise InputError(
            f"a picture of {across}x{height} pixels takes {told_bytes(needed)} in the task "
            f"{config.task}, more than the {told_bytes(limit)} it may take: try a crop of it, or "
            f"--max-memory {told_bytes(needed)}"
        )


def _affordable(seconds: float, restoration: Restoration) -> int | None:
    """Return how many steps fit into a time; None if all that are planned do."""
    if not seconds > 0:
        raise InputError(f"a time budget of {seconds:g} s leaves no time: give seconds above 0")
    planned = restoration.plan.steps
    if not planned:
        return None
    step, around = restoration.pace()
    fitting = int((seconds * MARGIN - around) / step)
    if fitting < FEWEST_STEPS:
        least = (FEWEST_STEPS * step + around) / MARGIN
        raise InputError(
            f"a time budget of {seconds:g} s allows {max(0, fitting)} steps of {step:.2g} s, too "
            f"few to restore anything: try {least:.2g} s or more, or a smaller picture"
        )
    return fitting if fitting < planned else None


def _in_one_unit(image: NDArray[Any], other: NDArray[Any] | None) -> bool:
    """Whether values of two images mean the same: their types are one, or both floats."""
    one, two = image.dtype, np.asarray(other).dtype
    return one == two or one.kind == two.kind == "f"


def _checked(
    image: NDArray[Any], name: str, white: float | None, *, nan_as_missing: bool = False
) -> NDArray[np.float32]:
    """Return the image as float32 (H, W, C) after refusing what cannot be restored."""
    image = np.asarray(image)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"the {name} must be (H, W) or (H, W, C) with at least one pixel, not {image.shape}"
        )
    if image.dtype.kind not in "buif":
        raise InputError(f"the {name} must hold numbers, not {image.dtype}")
    pixels = image if image.ndim == 3 else image[..., None]
    height, width, channels = pixels.shape
    if channels > USUAL_CHANNELS and channels >= min(height, width):
        raise InputError(
            f"the {name} has {channels} channels (its last axis) of {width}x{height} pixels, which "
            "looks like a stack: restore its images one by one, or put channels last"
        )
    pixels = to_float(pixels, white)
    finite = np.isfinite(pixels)
    if nan_as_missing and not finite.any():
        raise InputError(f"the {name} holds no finite pixel: there is nothing to restore from")
    if not nan_as_missing and not finite.all():
        raise InputError(
            f"the {name} holds NaN or infinite pixels: replace them first, or pass "
            "nan_as_missing=True to have them filled in"
        )
    return pixels


def _noise_of(
    task: Task,
    pixels: NDArray[np.float32],
    missing: NDArray[np.bool_] | None,
    config: Config,
) -> tuple[NoiseModel | None, Grain | None, str]:
    """Return the noise to reckon with, as `guided_dip.restoration.noise.noise_of` does."""
    if task.noise is not None:
        return task.noise, None, ""
    if task.pictures:
        return noise_of(pixels, missing, config)
    stated = parse_noise(config.noise)
    if stated is None and config.supervision in ("recorrupted-guides", "observation-guides"):
        raise InputError(
            f"the noise of a measurement for the task {config.task} cannot be estimated: state "
            "it, such as gaussian:5 (of 255), or none"
        )
    return stated, None, ""


def _span_of(
    task: Task,
    pixels: NDArray[np.float32],
    first: NDArray[np.float32] | None,
    noise: NoiseModel | None,
    grain: Grain | None,
) -> Span:
    """Return the values that the image covers.

    An operator acts on the image's own values. So noise that goes with the light is not made even
    where there is one, but known to be what it is at each pixel.
    """
    if task.noise is not None:  # what JPEG did is known in the file's own values
        return Span(noise=task.noise)
    if task is DENOISE:
        return span_of(pixels, noise, grain)
    share = None
    if noise is not None and noise.gain:
        smooth = ndimage.gaussian_filter(pixels, (SMOOTHING, SMOOTHING, 0))
        level = noise.deviation(smooth).astype(np.float32)
        usual = float(np.sqrt(np.mean(level**2, dtype=np.float64)))
        noise, share = NoiseModel("gaussian", usual), level / np.float32(usual or 1.0)
    if task.keeps_gray:
        span = span_of(pixels, noise, grain)
        return span if share is None else replace(span, share=share, clipping=None)
    assert first is not None, "it would be of other values"
    span = span_of(first, None)
    like = torch.ones((1, first.shape[2], *first.shape[:2]), device=task.device)
    gray = to_array(task.operator(like))
    even = NoiseModel("gaussian") if noise is None else noise
    return replace(span, noise=even, clipping=None, gray=gray, share=share)


def _first(task: Task, pixels: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return what one would look at without a restoration, if that is not the image itself."""
    if task is DENOISE or not np.isfinite(pixels).all():
        return None
    y = to_tensor(pixels, task.device)
    unrestored = task.unrestored(y)
    return None if unrestored is y else to_array(unrestored)


def _shape_of(pixels: NDArray[np.float32], image: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape of a result, which has no axis for a single channel if `image` has none."""
    return pixels.shape[:2] if pixels.shape[2] == 1 and image.ndim == 2 else pixels.shape


def _missing(pixels: NDArray[np.float32], mask: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Return which pixels (H, W) are missing, in the mask or in any channel; None if none is."""
    missing: NDArray[np.bool_] = np.any(~np.isfinite(pixels), axis=2)
    if mask is not None:
        if mask.shape != missing.shape:
            raise InputError(
                f"the mask is {_size(mask)} pixels, and the image {_size(missing)}: "
                "try one of the same size"
            )
        missing = missing | np.asarray(mask, bool)
    if missing.all():
        turned = "" if mask is None else "; is it a mask for --invert-mask?"
        raise InputError(f"every pixel is missing: there is nothing to start from{turned}")
    return missing if missing.any() else None


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]}x{array.shape[0]}" if array.ndim > 1 else str(array.shape)


def _filled(pixels: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill missing pixels with their nearest known neighbour's values."""
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    filled: NDArray[np.float32] = pixels[tuple(nearest)]
    return filled
