"""What OME and ImageJ say in a TIFF's description: the size of a pixel, and of a whole stack.

A description that does not fit the picture in a file misleads whoever opens it, so one of a stack
is cut down to the picture that was taken from it (OME schema 2016-06; ImageJ's TiffEncoder).
"""

from __future__ import annotations

import re

from guided_dip.images.picture import Picture

_PIXELS = re.compile(r"<(?:\w+:)?Pixels\s[^>]*>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_IMAGEJ_STACK = re.compile(r"^images=(?!1$)", re.MULTILINE)
_IMAGEJ_LINE = re.compile(
    r"^(images|channels|slices|frames|hyperstack|mode|spacing|zunit|loop|fps|finterval)=.*\n?",
    re.MULTILINE,
)
_PIXEL_SIZE = ("PhysicalSizeX", "PhysicalSizeXUnit", "PhysicalSizeY", "PhysicalSizeYUnit")
_TYPES = {"float32": "float", "float64": "double"}
_OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYCZT" {attributes}>
<Channel ID="Channel:0:0" SamplesPerPixel="{samples}"/><TiffData IFD="0" PlaneCount="1"/>
</Pixels></Image></OME>"""


def is_microscopy(description: bytes) -> bool:
    """Tell a description by OME or ImageJ from all others."""
    return description.startswith(b"ImageJ=") or _is_ome(description)


def fitted(description: bytes, picture: Picture) -> bytes | None:
    """Cut a description down to what is true of one picture.

    Parameters
    ----------
    description
        Of a TIFF file, by whomever.
    picture
        Whose file is to have it.

    Returns
    -------
    bytes
        The same if it fits; without the stack if it is of one; None if it is of a picture of
        another size, as then its pixels are of another size, too.
    """
    # Every byte is a letter, so that whatever is kept is kept as it is.
    text = description.rstrip(b"\0").decode("latin-1")
    if _is_ome(description):
        fitting = _fitted_ome(text, picture)
    elif is_microscopy(description) and _IMAGEJ_STACK.search(text):
        fitting = _IMAGEJ_LINE.sub("", text)
    else:
        return description
    return None if fitting is None else fitting.encode("latin-1") + b"\0"


def _is_ome(description: bytes) -> bool:
    return description.rstrip(b"\0 \r\n").endswith(b"OME>")


def _fitted_ome(text: str, picture: Picture) -> str | None:
    images = [
        {name: one or other for name, one, other in _ATTRIBUTE.findall(pixels)}
        for pixels in _PIXELS.findall(text)
    ]
    true = _described(picture)
    if len(images) == 1 and true.items() <= images[0].items():
        return text
    kept: list[dict[str, str]] = []
    for image in images:
        if any(image.get(name) != true[name] for name in ("SizeX", "SizeY")):
            return None
        kept.append({name: image[name] for name in _PIXEL_SIZE if name in image})
    if not kept or any(other != kept[0] for other in kept):
        return None  # it does not say of which of its images a page is
    attributes = " ".join(f'{name}="{value}"' for name, value in (true | kept[0]).items())
    return _OME.format(attributes=attributes, samples=true["SizeC"])


def _described(picture: Picture) -> dict[str, str]:
    """Say how OME describes a picture's pixels."""
    height, width = picture.pixels.shape[:2]
    kind = picture.pixels.dtype.name
    sizes = {"SizeX": width, "SizeY": height, "SizeC": picture.channels, "SizeZ": 1, "SizeT": 1}
    sizes["SizeC"] += picture.alpha is not None
    return {"Type": _TYPES.get(kind, kind), **{name: str(size) for name, size in sizes.items()}}
