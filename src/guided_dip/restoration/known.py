"""What is known of an image's measurement besides its pixels: the task that it sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided_dip.config import Config
from guided_dip.engine import resolve_device, to_tensor
from guided_dip.errors import InputError
from guided_dip.jpeg import Rounding, Tables
from guided_dip.noise import LEAST_SIGMA, parse_noise
from guided_dip.operators import Blur, Downsample, Gain, from_callable, parse_kernel
from guided_dip.tasks import DENOISE, Deblur, Degain, Dejpeg, Invert, SuperResolve, Task

# Settings of one task, which mean nothing in others.
_SETTINGS = {"kernel": "deblur", "enlarge": "super-resolve"}
_FOR = {
    "kernel": "deblur",
    "tables": "dejpeg",
    "gain": "degain",
    "operator": "invert",
    "image_shape": "invert",
}


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a measurement besides its pixels.

    Attributes
    ----------
    mask : (H, W) or None
        Where pixels are missing.
    kernel : (Kh, Kw) or None
        The blur.
    tables
        Of the JPEG file.
    gain : (H, W) or (H, W, C), or None
        By which each pixel was multiplied.
    operator
        The forward operator: a function of an image (1, C, H, W), or an object with ``A``.
    image_shape
        Of the image that it takes, (H, W) or (H, W, C); None: that of its adjoint, or the
        measurement's.
    """

    mask: NDArray[Any] | None = None
    kernel: NDArray[Any] | None = None
    tables: Tables | None = None
    gain: NDArray[Any] | None = None
    operator: Any = None
    image_shape: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """The task that it is for."""
        given = (task for name, task in _FOR.items() if getattr(self, name) is not None)
        return next(given, "denoise" if self.mask is None else "inpaint")

    def task(self, config: Config, pixels: NDArray[np.float32]) -> Task:
        """Return what was done to an image, besides noise and missing pixels.

        Parameters
        ----------
        config
            Settings.
        pixels : (H, W, C)
            The measurement.

        Raises
        ------
        InputError
            If something is missing, or of no use.
        """
        self._check(config)
        if config.task in ("denoise", "inpaint"):
            return DENOISE
        if config.task == "super-resolve":
            return SuperResolve(Downsample(config.enlarge or 2, config.downsampling))
        if config.task == "deblur":
            named = parse_kernel(config.kernel) if config.kernel is not None else None
            kernel = named if self.kernel is None else self.kernel
            if kernel is None:
                raise InputError("deblurring needs the blur's kernel: try gaussian:2.0")
            return Deblur(Blur(kernel))
        y = to_tensor(pixels, resolve_device(config.device))
        if config.task == "dejpeg":
            if self.tables is None:
                raise InputError("there are no quantisation tables: give those of the JPEG file")
            return Dejpeg(Rounding(y, self.tables))
        if config.task == "degain":
            return Degain(Gain(_gain(self.gain, y)))
        return self._invert(y, config)

    def _check(self, config: Config) -> None:
        """Refuse what another task would need."""
        given = {name for name in _FOR if getattr(self, name) is not None}
        given |= {name for name in _SETTINGS if getattr(config, name) is not None}
        for name in sorted(given):
            task = _FOR.get(name) or _SETTINGS[name]
            if config.task != task:
                raise InputError(f"{name} is for the task {task}: leave it out, or try task={task}")
        if config.supervision == "clean-guides" and config.task != "denoise":
            raise InputError(
                f"clean-guides see the clean image, which the task {config.task} has not: try "
                "recorrupted-guides or observation"
            )

    def _invert(self, y: Tensor, config: Config) -> Task:
        if self.operator is None:
            raise InputError("there is no operator to invert: give operator=, a function or object")
        shape = self.image_shape
        if shape is not None:
            if len(shape) not in (2, 3) or min(shape) < 1:
                raise InputError(f"image_shape is (H, W) or (H, W, C), not {shape}")
            height, width, channels = (*shape, 1)[:3]
            like = y.new_zeros((1, channels, height, width))
        else:
            back = getattr(self.operator, "A_adjoint", None) or getattr(
                self.operator, "adjoint", None
            )
            like = y if back is None else back(y)
            if not isinstance(like, Tensor) or like.ndim != 4 or len(like) != 1:
                raise InputError("the operator's adjoint gives no image (1, C, H, W)")
        _, channels, height, width = like.shape
        operator = from_callable(self.operator, (1, channels, height, width))
        measured = operator(like)
        if measured.shape != y.shape:
            raise InputError(
                f"the operator makes {tuple(measured.shape)} of an image {tuple(like.shape)}, but "
                f"the measurement is {tuple(y.shape)}: try image_shape"
            )
        noise = parse_noise(config.noise)
        exact = noise is not None and not noise.gain and noise.sigma < LEAST_SIGMA
        return Invert(operator, torch.zeros_like(like), exact=exact)


def _gain(gain: NDArray[Any] | None, like: Tensor) -> Tensor:
    """Return a gain as the operator takes it."""
    if gain is None:
        raise InputError("there is no gain: give what each pixel was multiplied by")
    array = np.atleast_3d(np.asarray(gain, np.float32))
    size, channels = tuple(like.shape[-2:]), like.shape[1]
    if array.shape[:2] != size or array.shape[2] not in (1, channels):
        raise InputError(
            f"a gain of {array.shape[1]}x{array.shape[0]} pixels and channels: {array.shape[2]} "
            f"does not fit an image of {size[1]}x{size[0]} pixels and channels: {channels}; try "
            "one of the same size"
        )
    if not np.isfinite(array).all() or array.min() < 0 or not array.max() > 0:
        raise InputError("a gain's numbers are finite, none is below 0, and some are above 0")
    return to_tensor(array, like.device)
