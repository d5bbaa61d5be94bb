"""Layers of the viewer: which picture is shown, and a new layer beside another."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from guided_dip.napari.planes import Index, Planes

# What a restoration looks like is what the picture it was made from looks like.
LOOKS = ("colormap", "contrast_limits", "gamma", "blending", "opacity", "units", "axis_labels")
PLACE = ("scale", "translate", "rotate", "shear", "affine")


def planes_of(layer: Image) -> Planes:
    """Return the pictures of a layer; of several resolutions the finest."""
    data = layer.data[0] if layer.multiscale else layer.data
    return Planes(data, bool(layer.rgb))


def shown_index(layer: Image, point: tuple[float, ...]) -> Index:
    """Return which picture of a layer is shown.

    Parameters
    ----------
    layer
        The layer.
    point
        Where the viewer's sliders are, in world coordinates.
    """
    sizes = planes_of(layer).before
    at = layer.world_to_data(point[-layer.ndim :])
    return tuple(
        int(np.clip(round(place), 0, size - 1)) for place, size in zip(at, sizes, strict=False)
    )


def layer_like(layer: Image, array: NDArray[Any], name: str, first: Index | None = None) -> Image:
    """Return a layer of an array that lies where another lies, and looks as that does.

    Parameters
    ----------
    layer
        The other one.
    array
        Of the same shape; or of one picture of it, with axes of size 1 before it.
    name
        Of the new layer.
    first
        Which picture that is.
    """
    values = {key: getattr(layer, key) for key in (*PLACE, *LOOKS)}
    if first is not None:
        corner = (*first, *(0,) * (layer.ndim - len(first)))
        values["translate"] = layer.affine.inverse(layer.data_to_world(corner))
    if layer.rgb:
        values.pop("colormap")
        values.pop("contrast_limits")
    return Image(array, name=name, rgb=layer.rgb, metadata=dict(layer.metadata), **values)
