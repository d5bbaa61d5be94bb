"""Uploads and jobs of the web service, for tests."""

import itertools
import time

import numpy as np
import tifffile
from PIL import Image

from guided_dip.web.jobs import NewJob, Upload
from guided_dip.web.models import ENDED, JobSettings

PATIENCE = 120  # seconds that anything may take
FEW = {"effort": "fast", "settings": {"steps": 12}}
LONG = {"effort": "fast", "settings": {"steps": 4000}}

_numbers = itertools.count()


def noisy(size=(16, 16), channels=3, dtype=np.uint8, seed=0):
    shape = size if channels == 1 else (*size, channels)
    pixels = np.random.default_rng(seed).normal(0.5, 0.08, shape).clip(0, 1)
    return np.rint(pixels * np.iinfo(dtype).max).astype(dtype)


def upload(folder, pixels, name="photo.png", form="PNG", pages=1):
    """Return a file that has arrived."""
    path = folder / f"arrived-{next(_numbers)}"
    if form == "TIFF":
        colour = pixels.ndim - (pages > 1) == 3
        tifffile.imwrite(path, pixels, photometric="rgb" if colour else "minisblack", metadata=None)
    else:
        Image.fromarray(pixels).save(path, form)
    height, width = pixels.shape[pages > 1 :][:2]
    channels = 3 if pixels.ndim - (pages > 1) == 3 else 1
    bits = 8 * pixels.dtype.itemsize
    return Upload(path, name, form, width, height, channels, pages, bits)


def job(folder, pixels=None, settings=None, files=None, **named):
    """Return a new job of a small noisy picture."""
    pixels = noisy() if pixels is None else pixels
    image = upload(folder, pixels, **named)
    given = FEW if settings is None else settings
    return NewJob({"image": image, **(files or {})}, JobSettings(**given))


def follow(manager, state, until, owner="me"):
    """Return all states until one is as is wanted."""
    states, end = [state], time.monotonic() + PATIENCE
    while not until(states[-1]):
        assert time.monotonic() < end, states[-1]
        last = states[-1]
        states.append(manager.wait(last.id, owner, last.version, 1))
    return states


def ended(manager, state, owner="me"):
    return follow(manager, state, lambda state: state.status in ENDED, owner)[-1]


def computing(manager, state, steps=2, owner="me"):
    return follow(manager, state, lambda state: state.progress.step >= steps, owner)[-1]
