"""The noise that a restoration reckons with: stated, or read off the image.

A stated level that is 10% off costs 0.8 dB at sigma 25: recorrupted with too much noise, or too
little, the noises of input and target are no longer uncorrelated. What smooth parts of an image
vary by tells its level to 2% at sigma 25, so that is held against what was stated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.grain import SMALLEST, Grain, estimate_noise_and_grain, read_grain
from guided_dip.noise import NoiseModel, estimate_noise, parse_noise, read_whiteness
from guided_dip.sampling import sampled

TILE = 32  # pixels; the noise of a picture with holes is estimated from such squares without one
FEWEST_TILES = 4
# A level is read 3.2% too low at worst, and too high by what fine texture adds: white noise of 5
# to 75 of 255, as floats and as 8-bit files, on 47 pictures of 256 x 256 pixels and more. Told the
# true level, none of these is overruled; told one 10% too low at sigma 25, Kodak's twelve are.
READ_WITHIN, READ_AT = 0.04, 256 * 256
TEXTURE = 8 / 255
# From noise as white as this is the level told by high frequencies: in these it is 0.94 at least at
# sigma 15 and 25, and 0.93 at most in 33 of them if blurred by 0.45 pixels, which hides 17%.
WHITE = 0.935
# Beyond, noise is of another kind than was stated, or not what was meant by it.
LEAST_READ, MOST_READ = 0.75, 1.35  # of the stated level


def noise_of(
    pixels: NDArray[np.float32], missing: NDArray[np.bool_] | None, config: Config
) -> tuple[NoiseModel | None, Grain | None, str]:
    """Return the noise to reckon with, how it is correlated, and what was found out about it.

    Parameters
    ----------
    pixels : (H, W, C)
        The image.
    missing : (H, W) bool or None
        Pixels that are not finite.
    config
        Settings.

    Returns
    -------
    noise
        None if the supervision needs to know none.
    grain
        None if the noise is white.
    note
        For the user; empty if there is nothing to say.

    Raises
    ------
    InputError
        If noise or grain cannot be read off the image.
    """
    pixels, missing = sampled(pixels), None if missing is None else sampled(missing)
    given, grain = parse_noise(config.noise), None
    recorrupted = config.supervision == "recorrupted-guides"
    if config.grain == "correlated":
        if not recorrupted or missing is not None:
            raise InputError(
                "correlated grain is for recorrupted guides on an image without missing pixels: "
                "leave out grain"
            )
        grain = _stated_grain(pixels, given)
    if given is not None:
        if recorrupted and grain is None and missing is None and config.check_noise:
            shown = _contradicting(pixels, given)
            if shown is not None:
                note = f"stated was {given}, but the picture shows {shown}, which is used"
                return shown, None, note
        return given, grain, ""
    if not recorrupted and config.supervision != "observation-guides":
        return None, None, ""
    whole = pixels if missing is None else _without_holes(pixels, missing)
    if grain is not None:
        estimated = NoiseModel("gaussian", grain.sigma)
    elif config.grain == "auto" and recorrupted and missing is None:
        estimated, grain = estimate_noise_and_grain(whole)
    else:
        estimated = estimate_noise(whole, channel_axis=-1)
    return _rounded(estimated), grain, ""


def _rounded(noise: NoiseModel) -> NoiseModel | None:
    """Round a noise to what the resolved config says of it, so that the config repeats the run."""
    return parse_noise(str(noise))


def _contradicting(pixels: NDArray[np.float32], stated: NoiseModel) -> NoiseModel | None:
    """Return the noise that an image shows, if the stated level is a little off; None if not.

    Only of white noise, the same everywhere: whether counted light has the stated gain is read off
    too few levels of brightness to know better.
    """
    if stated.gain or not stated.sigma or min(pixels.shape[:2]) < SMALLEST:
        return None
    shown, grain = estimate_noise_and_grain(pixels)
    if shown.gain or grain is not None:
        return None
    if not LEAST_READ * stated.sigma < shown.sigma < MOST_READ * stated.sigma:
        return None
    within = READ_WITHIN * max(1.0, math.sqrt(READ_AT / math.prod(pixels.shape[:2])))
    too_high = shown.sigma < (1 - within) * stated.sigma and read_whiteness(pixels, -1) > WHITE
    too_low = shown.sigma > math.hypot((1 + within) * stated.sigma, TEXTURE)
    return _rounded(shown) if too_high or too_low else None


def _stated_grain(pixels: NDArray[np.float32], noise: NoiseModel | None) -> Grain:
    """Read off the grain of an image that is said to have one."""
    if noise is not None and noise.gain:
        raise InputError(
            "correlated grain goes with gaussian noise (how it goes with brightness is read off "
            "the image): try --noise auto, or gaussian:10"
        )
    grain = read_grain(pixels)
    if grain is None:
        raise InputError("no grain can be read off so small or so clean an image: try grain=white")
    return grain


def _without_holes(pixels: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the squares of an image that miss no pixel, side by side."""
    height, width = missing.shape
    tiles = [
        pixels[top : top + TILE, left : left + TILE]
        for top in range(0, height - TILE + 1, TILE)
        for left in range(0, width - TILE + 1, TILE)
        if not missing[top : top + TILE, left : left + TILE].any()
    ]
    if len(tiles) < FEWEST_TILES:
        raise InputError(
            "too many pixels are missing to estimate the noise: give it, such as "
            "--noise gaussian:25"
        )
    return np.concatenate(tiles, axis=1)
