"""A stack of images, restored by one network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError
from guided_dip.restoration.prepare import restore
from guided_dip.result import Result


def restore_stack(
    stack: NDArray[Any],
    *,
    mask: NDArray[Any] | None = None,
    clean: NDArray[Any] | None = None,
    **settings: Any,
) -> Result:
    """Restore a stack of noisy or incomplete images by one network, fitted to all of them.

    Slices in depth, frames of a film: images that are alike, so that each helps with the others,
    and all are done in less time than one after another. Those that have nothing in common are
    better restored one by one.

    Parameters
    ----------
    stack : (N, H, W) or (N, H, W, C) array
        As `guided_dip.restore` takes each image.
    mask : (H, W) or (N, H, W) array, optional
        Where pixels are missing, of every image or of each.
    clean : array of the stack's shape, optional
        Scores the result; changes nothing else.
    **settings
        As for `guided_dip.restore`.

    Returns
    -------
    Result
        Its image and spread have the stack's shape; all else is of the images below one another.

    Raises
    ------
    InputError
        If the stack or a setting is not usable.
    RunError
        If the fit fails on the way.

    Examples
    --------
    >>> import numpy as np
    >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (3, 32, 32)).astype("float32")
    >>> small = {"steps": 2, "backbone_options": {"width": 4}}
    >>> restore_stack(noisy, noise="gaussian:25", **small).image.shape
    (3, 32, 32)
    """
    stack = np.asarray(stack)
    if stack.ndim not in (3, 4) or 0 in stack.shape:
        raise InputError(f"a stack is (N, H, W) or (N, H, W, C), not {stack.shape}")
    pages, height, width = stack.shape[:3]

    def below(images: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if images is None else images.reshape(pages * height, *images.shape[2:])

    if mask is not None:
        if mask.shape not in ((height, width), (pages, height, width)):
            raise InputError(
                f"the mask is {mask.shape}: try ({height}, {width}), or one for each of the "
                f"{pages} images"
            )
        mask = np.broadcast_to(mask, (pages, height, width))
    if clean is not None and clean.shape != stack.shape:
        raise InputError(f"the clean stack's shape {clean.shape} is not the stack's {stack.shape}")
    tall = stack.reshape(pages * height, *stack.shape[2:])
    result = restore(tall, mask=below(mask), clean=below(clean), pages=pages, **settings)
    spread = None if result.spread is None else result.spread.reshape(stack.shape)
    return replace(result, image=result.image.reshape(stack.shape), spread=spread)
