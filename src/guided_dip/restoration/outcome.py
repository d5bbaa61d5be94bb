"""From what a fit ends with to the picture that is given back, and what is told of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from guided_dip.engine import to_array
from guided_dip.images import from_float
from guided_dip.noise import NoiseModel
from guided_dip.residual import ResidualCheck, check_residual, explained_share
from guided_dip.restoration.course import SMALLER
from guided_dip.restoration.prepared import Prepared
from guided_dip.restoration.span import Span, in_bands
from guided_dip.tasks import DENOISE
from guided_dip.tiling import Window


def pixels_of(
    prepared: Prepared, image: Tensor, window: Window | None = None
) -> NDArray[np.float32]:
    """Turn a cut (1, C, H, W) tensor of the fit into an (H, W, C) array in the image's values.

    Parameters
    ----------
    prepared
        What the fit is of.
    image
        The tensor.
    window
        Of the image, that it shows; None: all of it.
    """
    finished = prepared.task.finished(image, prepared.observation, window)
    pixels = prepared.span.from_fit(to_array(finished))
    if prepared.keeps_known:
        assert prepared.missing is not None, "or none would be known"
        part = (slice(None), slice(None)) if window is None else window
        known = ~prepared.missing[part]
        pixels[known] = prepared.pixels[part][known]
    return pixels


def with_mean(prepared: Prepared, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give an estimate each channel's mean, of which noise over many pixels leaves no doubt.

    Counted light is scaled, so that none stays none. Where noise was cut off, or pixels are
    missing, the image's own mean is not the right one.

    Parameters
    ----------
    prepared
        What the estimate is of.
    pixels : (H, W, C)
        The estimate.
    """
    noise, c = prepared.noise, prepared.config
    if noise is None or c.supervision != "recorrupted-guides" or prepared.task is not DENOISE:
        return pixels
    if prepared.missing is not None or prepared.span.clipping is not None:
        return pixels
    if c.pages == 1:
        return _with_mean_of(prepared.pixels, pixels, noise)
    both = zip(*(np.split(image, c.pages) for image in (prepared.pixels, pixels)), strict=True)
    return np.concatenate([_with_mean_of(image, part, noise) for image, part in both])


def _with_mean_of(
    image: NDArray[np.float32], pixels: NDArray[np.float32], noise: NoiseModel
) -> NDArray[np.float32]:
    """Give pixels the mean of each channel of an image; scaled, where noise goes with the light."""
    wanted, found = (part.mean((0, 1), dtype=np.float64) - noise.black for part in (image, pixels))
    if noise.gain and not (found > 0).all():
        return pixels
    factor = wanted / found if noise.gain else np.ones_like(found)
    shift = noise.black * (1 - factor) + (0.0 if noise.gain else wanted - found)
    factor, shift = factor.astype(np.float32), shift.astype(np.float32)
    return in_bands(lambda part: part * factor + shift, pixels)


def share_kept(prepared: Prepared, pixels: NDArray[np.float32]) -> float:
    """Return what share of an estimate is kept: all, unless it left out more than the noise.

    Parameters
    ----------
    prepared
        What the estimate is of.
    pixels : (H, W, C)
        The estimate.
    """
    if prepared.config.supervision != "recorrupted-guides" or prepared.noise is None:
        return 1.0
    if prepared.task is not DENOISE:
        return 1.0
    return explained_share(prepared.pixels, pixels, prepared.noise, prepared.missing)


def blended(
    prepared: Prepared, pixels: NDArray[np.float32], share: float = 1.0
) -> NDArray[np.float32]:
    """Blend an estimate with the image, as the strength says.

    Parameters
    ----------
    prepared
        What the estimate is of.
    pixels : (H, W, C)
        The estimate.
    share
        Of what the strength says.
    """
    strength = prepared.config.strength * share
    if strength == 1:
        return pixels
    both = in_bands(
        lambda y, x: np.float32(1 - strength) * y + np.float32(strength) * x,
        prepared.unrestored,
        pixels,
    )
    if prepared.missing is not None:  # what was never measured cannot be blended with
        both[prepared.missing] = pixels[prepared.missing]
    return both


def given_back(prepared: Prepared, pixels: NDArray[np.float32]) -> NDArray[Any]:
    """Return pixels in the image's own units, type and shape.

    Parameters
    ----------
    prepared
        What they are of.
    pixels : (H, W, C)
        With a white of 1.
    """
    if prepared.white is not None and prepared.dtype.kind in "iu" and prepared.pixels.max() <= 1:
        pixels = np.minimum(pixels, np.float32(1))  # as at the largest value of a type
    values = from_float(pixels, prepared.dtype, prepared.white)
    if prepared.given is not None:
        kept = pixels == prepared.pixels
        if prepared.missing is not None:
            kept[prepared.missing] = False
        np.copyto(values, prepared.given.reshape(values.shape), where=kept, casting="same_kind")
    return values.reshape(prepared.shape)


def residual_of(prepared: Prepared, pixels: NDArray[np.float32]) -> ResidualCheck | None:
    """Check what an estimate left out, before it is blended; None where nothing can be said.

    Parameters
    ----------
    prepared
        What the estimate is of.
    pixels : (H, W, C)
        The estimate.
    """
    if prepared.noise is None or prepared.config.oracle or not prepared.plan.steps:
        return None
    if prepared.task is not DENOISE:  # what was taken away is more than noise
        return None
    return check_residual(
        prepared.pixels,
        pixels,
        prepared.noise,
        prepared.missing,
        correlated=prepared.span.grain is not None,
    )


def told_noise(span: Span) -> str:
    """Say what was found out about the noise beyond its model.

    Parameters
    ----------
    span
        Of the image.
    """
    parts = []
    if span.clipping is not None:
        ends = (("black", span.clipping.low), ("white", span.clipping.high))
        cut = " and ".join(name for name, limit in ends if math.isfinite(limit))
        parts.append(f"its noise was cut off at {cut}, where it is filled in")
    if span.grain is not None:
        parts.append(
            f"its noise is correlated ({span.grain.correlation:.2f} between neighbours), so the "
            "guides' is, too"
        )
    return "; ".join(parts)


def told_rollbacks(rollbacks: tuple[int, ...]) -> str:
    """Say at which steps the fit went back.

    Parameters
    ----------
    rollbacks
        These steps.
    """
    if not rollbacks:
        return ""
    steps = " and ".join(str(step) for step in rollbacks)
    rate = f"{SMALLER ** len(rollbacks):g}"
    return f"the fit diverged at step {steps} and went back, to go on at {rate} of its rate"


def told_share(share: float) -> str:
    """Say that not all of the estimate is in the result, if so.

    Parameters
    ----------
    share
        Of it that is kept.
    """
    if share > 0.995:
        return ""
    return (
        f"the fit left out more than the noise, so only {share:.0%} of it is in the result; the "
        "rest is the input"
    )
