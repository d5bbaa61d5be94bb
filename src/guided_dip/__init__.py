"""Guided-DIP: restore one degraded image with no training data and no stopping point.

Nothing heavy is loaded before a name is used.

Examples
--------
>>> import guided_dip
>>> import numpy as np
>>> noisy = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
>>> small = {"steps": 2, "backbone_options": {"width": 4}}  # leave this out for a picture
>>> result = guided_dip.restore(noisy, noise="gaussian:25", **small)
>>> result.image.shape, result.image.dtype.name
((24, 32, 3), 'uint8')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guided_dip.config import PRESETS, Config, make_config
    from guided_dip.errors import InputError, RunError
    from guided_dip.reconstructor import GuidedDIPReconstructor
    from guided_dip.restoration import restore, restore_stack
    from guided_dip.result import Result

    __version__: str

__all__ = [
    "PRESETS",
    "Config",
    "GuidedDIPReconstructor",
    "InputError",
    "Result",
    "RunError",
    "__version__",
    "make_config",
    "restore",
    "restore_stack",
]

_ROOMS = {
    "PRESETS": "config",
    "Config": "config",
    "GuidedDIPReconstructor": "reconstructor",
    "InputError": "errors",
    "Result": "result",
    "RunError": "errors",
    "make_config": "config",
    "restore": "restoration",
    "restore_stack": "restoration",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def _version() -> str:
    """Return the version that was installed; a folder of sources that was not has none to tell."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("guided-dip")
    except PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
