"""Files <-> arrays, without losing anything: bit depth, alpha, orientation, ICC, EXIF.

PNG, JPEG, TIFF, WebP, BMP and FITS; gray and RGB, with or without alpha; 8 and 16 bits, and every
integer and float of TIFF and FITS. What a format cannot hold is refused, never reduced.

Examples
--------
>>> picture = read("photo.png")                                            # doctest: +SKIP
>>> restored = from_float(to_float(picture.pixels), picture.pixels.dtype)  # doctest: +SKIP
>>> write("out.png", replace(picture, pixels=restored))                    # doctest: +SKIP
"""

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
    "from_float",
    "look_at",
    "parted",
    "read",
    "read_stack",
    "same_file",
    "to_float",
    "turned_back",
    "upright",
    "write",
    "write_stack",
]
