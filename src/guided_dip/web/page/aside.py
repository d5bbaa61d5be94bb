"""What is done with users' pixels for the page, each time in a process of its own.

Decoding what strangers upload, and filters that take a while, are kept out of the server's process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guided_dip.errors import InputError, reason_of
from guided_dip.workers import Ended, Link, Pool

SECONDS = 60.0  # that such a process may take
MEMORY = 4 * 2**30  # bytes of address space
LONGEST = 2048  # pixels of a side of a view
_AT_A_TIME = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class View:
    """A view to be drawn.

    Attributes
    ----------
    source
        The picture's file.
    target
        Where its view, a PNG of 8 bits, is put.
    max_pixels
        That the source may have.
    """

    source: Path
    target: Path
    max_pixels: int


def draw_view(source: Path, target: Path, max_pixels: int) -> None:
    """Draw what a browser shows of a picture that it cannot show itself: its first page, as PNG.

    Parameters
    ----------
    source, target, max_pixels
        As for `View`.

    Raises
    ------
    InputError
        If that cannot be done.
    """
    run(View(source, target, max_pixels), draw)


def run(order: object, work: Callable[[object, Link], None], seconds: float = SECONDS) -> None:
    """Have something done in a process of its own, which is killed if it takes too long.

    Parameters
    ----------
    order
        What; it can be pickled.
    work
        Does it; a function of a module's top level that tells its link an error, or nothing.
    seconds
        The most that it may take.

    Raises
    ------
    InputError
        With the error that was told, or if the process ended unasked.
    """
    until = time.monotonic() + seconds
    with _AT_A_TIME, Pool(work, ("aside",)) as pool:
        pool.idle[0].give(order)
        while pool.busy and (left := until - time.monotonic()) > 0:
            for _, message in pool.wait(left):
                if isinstance(message, Ended):
                    raise InputError("the picture takes more memory than it may; try a smaller one")
                raise InputError(str(message))
        if pool.busy:
            raise InputError("the picture takes too long to look at; try a smaller one")


def draw(order: object, link: Link) -> None:
    """Draw a `View`: the work of the process."""
    assert isinstance(order, View)
    limit_memory()
    try:
        _draw(order)
    except Exception as error:
        link.tell(reason_of(error))


def limit_memory() -> None:
    """Keep this process from taking the machine's memory."""
    with suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _draw(order: View) -> None:
    import numpy as np

    from guided_dip.files import write_whole
    from guided_dip.images import read, to_float

    pixels = read(order.source, max_pixels=order.max_pixels, page=0, nan_as_missing=True).pixels
    step = max(1, -(-max(pixels.shape[:2]) // LONGEST))
    values = np.nan_to_num(to_float(pixels[::step, ::step]), nan=0.0, posinf=1.0, neginf=0.0)
    low, high = (float(end) for end in np.percentile(values, (0.1, 99.9)))
    if low < -0.25 or high > 1.25 or high - low < 0.25:  # no picture as monitors have them
        values = (values - low) / max(high - low, 1e-9)
    write_whole(order.target, png(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)))


def png(eight: object) -> bytes:
    """Encode (H, W), (H, W, 1) or (H, W, 3) pixels of 8 bits as PNG."""
    import io

    import numpy as np
    from PIL import Image

    pixels = np.asarray(eight, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
