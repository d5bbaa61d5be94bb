"""Guided-DIP: restore one degraded image with no training data and no stopping point.

Nothing heavy is loaded before a name is used.

Examples
--------
>>> import guided_dip
>>> result = guided_dip.restore(noisy)                                     # doctest: +SKIP
>>> result = guided_dip.restore(noisy, noise="gaussian:25", effort="best")  # doctest: +SKIP
>>> result.image                                                           # doctest: +SKIP
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guided_dip.config import PRESETS, Config, make_config
    from guided_dip.errors import InputError, RunError
    from guided_dip.restore import restore
    from guided_dip.result import Result

    __version__: str

__all__ = [
    "PRESETS",
    "Config",
    "InputError",
    "Result",
    "RunError",
    "__version__",
    "make_config",
    "restore",
]

_ROOMS = {
    "PRESETS": "config",
    "Config": "config",
    "InputError": "errors",
    "Result": "result",
    "RunError": "errors",
    "make_config": "config",
    "restore": "restore",
}


class _Package(ModuleType):
    """A package whose `restore` is the function, though a room of it has the same name.

    Importing the room binds it to its name in the package; here that binds its function instead.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "restore" and isinstance(value, ModuleType):
            value = value.restore
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("guided-dip")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
