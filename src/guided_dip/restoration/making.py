"""The fit of a restoration: its network, its guides and what they are compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from guided_dip import backbones, seeds
from guided_dip import supervision as supervisions
from guided_dip.engine import Engine, to_tensor
from guided_dip.fit import Fit
from guided_dip.guidance import Plan
from guided_dip.hiding import Hiding
from guided_dip.operators import Mask
from guided_dip.restoration.prepared import Prepared
from guided_dip.tiling import Tiling
from guided_dip.training import FitSettings


def make_fit(
    prepared: Prepared, plan: Plan, *, tiling: Tiling | None, structure: Tensor | None
) -> Fit:
    """Make a fit, not begun.

    Parameters
    ----------
    prepared
        What it is of.
    plan
        Its stages, those of `prepared` or others.
    tiling
        How final outputs are parted; None if they are computed at once.
    structure : (1, C, H, W) or None
        What goes on across wide holes.
    """
    c = prepared.config
    device = torch.device(c.device)
    settings = FitSettings(**{name: getattr(c, name) for name in FitSettings.__dataclass_fields__})
    known = c.backbone in backbones.BACKBONES
    engine = Engine(make_network(prepared), device, c.precision, replayable=known)
    supervision = _supervision(prepared, plan, structure)
    if device.type == "cuda":
        supervision = supervisions.Ahead(supervision, plan)

    def fresh(restart: int) -> dict[str, Any]:
        return Engine(make_network(prepared, restart), device, c.precision).state_dict()

    task, measured = prepared.task, prepared.measured
    if c.supervision == "recorrupted-guides":
        operator = task.compared
    elif measured is None:
        operator = task.operator
    else:
        operator = Mask(measured)
        supervision = supervisions.Measured(supervision, operator)
    return Fit(engine, supervision, plan, settings, operator, fresh, tiling, task.cut)


def make_network(prepared: Prepared, restart: int = 0) -> nn.Module:
    """Make an untrained network, with the same weights each time.

    Parameters
    ----------
    prepared
        What it is to restore.
    restart
        Each has weights of its own.
    """
    c, channels = prepared.config, prepared.channels
    in_channels = None  # those of z
    if c.supervision == "recorrupted-guides":
        in_channels = channels + prepared.hides
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive(c.seed, "weights", *([restart] if restart else [])))
        return backbones.build(
            c.backbone, channels, in_channels=in_channels, options=c.backbone_options
        )


def _supervision(
    prepared: Prepared, plan: Plan, structure: Tensor | None
) -> supervisions.Supervision:
    c, y = prepared.config, prepared.observation
    if c.supervision == "recorrupted-guides":
        return _recorrupted(prepared, plan, structure)
    z = _z(prepared)
    fixed: dict[str, Any] = {"jitter": c.jitter or 0.0, "seed": c.seed}
    if c.supervision == "observation":
        return supervisions.observation(y, z, **fixed)
    shared = c.guide_noise == "shared"
    guided = fixed | {"convention": c.noise_convention, "shared_noise": shared}
    if c.supervision == "clean-guides":
        return supervisions.clean_guides(y, z, plan, prepared.schedule, **guided)
    return supervisions.observation_guides(
        y, z, plan, prepared.schedule, sigma=prepared.sigma, **guided
    )


def _recorrupted(
    prepared: Prepared, plan: Plan, structure: Tensor | None
) -> supervisions.Supervision:
    c, y, span = prepared.config, prepared.observation, prepared.span
    local, grain = span.local_share(prepared.pixels), span.grain
    measured, correlate = prepared.measured, None
    if grain is not None:
        kernel, mixing = (torch.from_numpy(part).to(y) for part in (grain.kernel, grain.mixing))
        correlate = supervisions.Filter(kernel, mixing)
    return prepared.task.guides(
        y,
        plan,
        sigma=prepared.sigma,
        seed=c.seed,
        share=None if local is None else to_tensor(local, y.device),
        grain=correlate,
        hiding=None if measured is None else Hiding(measured, c.seed),
        pages=c.pages,
        structure=structure,
    )


def _z(prepared: Prepared) -> tuple[Tensor, ...]:
    """Draw what networks are given that make an image from noise: one, or one a stage."""
    c = prepared.config
    y = prepared.task.lift(prepared.observation)
    backbone = backbones.find(c.backbone)
    height, width = y.shape[-2:]
    return tuple(
        backbones.network_input(
            backbone, y.shape[1], (height, width), seeds.generator(c.seed, "z", stage)
        ).to(y.device)
        for stage in range(len(prepared.plan) if c.redraw_z else 1)
    )
