"""``guided-dip info``: versions, devices, and what this machine will use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from guided_dip.cli.console import give

if TYPE_CHECKING:
    from guided_dip.config import Effort

PACKAGES = ("guided-dip", "torch", "numpy", "scikit-image", "imagecodecs", "pillow", "pydantic")


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show versions, devices, and what this machine will use."""
    import platform

    import torch

    from guided_dip.config import EFFORTS
    from guided_dip.engine import describe_devices, resolve_device, resolve_precision
    from guided_dip.runs import versions

    device = resolve_device("auto")
    found = {
        "versions": versions(PACKAGES),
        "platform": platform.platform(),
        "devices": describe_devices(),
        "threads": torch.get_num_threads(),
        "auto": {"device": str(device), "precision": resolve_precision("auto", device)},
        "efforts": {name: _measured(effort) for name, effort in EFFORTS.items()},
    }
    give(json.dumps(found) if as_json else _text(found))


def _measured(effort: Effort) -> str:
    if effort.psnr is None:
        return "not measured"
    return (
        f"{effort.psnr:.2f} dB in {effort.seconds} s: mean of Kodak's 256x256 crops, sigma 25, "
        "one thread"
    )


def _text(found: dict[str, object]) -> str:
    width = max(map(len, PACKAGES)) + 2
    lines = []
    for head, value in found.items():
        if isinstance(value, dict):
            lines += [f"{head}:", *(f"  {key:<{width}}{item}" for key, item in value.items())]
        else:
            lines.append(f"{head + ':':<{width + 2}}{value}")
    return "\n".join(lines)
