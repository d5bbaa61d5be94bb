"""Files <-> arrays, without losing anything: bit depth, alpha, orientation, ICC, EXIF.

PNG, JPEG, TIFF, WebP, BMP and FITS; gray and RGB, with or without alpha; 8 and 16 bits, and every
integer and float of TIFF and FITS. What a format cannot hold is refused, never reduced.

Examples
--------
>>> import numpy as np
>>> from dataclasses import replace
>>> write("photo.png", Picture(np.zeros((4, 6, 3), np.uint16)))
>>> picture = read("photo.png")
>>> restored = from_float(to_float(picture.pixels), picture.pixels.dtype)
>>> write("out.png", replace(picture, pixels=restored))
>>> read("out.png").pixels.shape, picture.pixels.dtype.name
((4, 6, 3), 'uint16')
"""

from guided_dip.images.extremes import extremes_of_file, in_units_of_white, white_of_file
from guided_dip.images.facts import Facts, TooLargeError, UnknownFormatError, look_at
from guided_dip.images.files import (
    DEFAULT_MAX_PIXELS,
    check_stack_writable,
    check_writable,
    count_pages,
    read,
    read_stack,
    same_file,
    write,
    write_stack,
)
from guided_dip.images.picture import (
    Picture,
    Resolution,
    from_float,
    parted,
    to_float,
    turned_back,
    upright,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "Facts",
    "Picture",
    "Resolution",
    "TooLargeError",
    "UnknownFormatError",
    "check_stack_writable",
    "check_writable",
    "count_pages",
    "extremes_of_file",
    "from_float",
    "in_units_of_white",
    "look_at",
    "parted",
    "read",
    "read_stack",
    "same_file",
    "to_float",
    "turned_back",
    "upright",
    "white_of_file",
    "write",
    "write_stack",
]
