"""Several restorations at once, whose small networks are computed as one.

A small network's step costs calls more than arithmetic, and calls are shared: runs that differ in
their seeds, or in pictures of one size. Each has its own weights, noise and records, and its result
is that of a run by itself but for rounding, which a fit enlarges as another seed does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from guided_dip import backbones
from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.fit import together
from guided_dip.guidance import Plan
from guided_dip.memory import peak_memory
from guided_dip.restoration.run import Restoration
from guided_dip.result import Record, Result


def run_together(
    restorations: Sequence[Restoration], on_step: Callable[[int, Record], None] | None = None
) -> list[Result | None]:
    """Carry out several restorations at once.

    Parameters
    ----------
    restorations
        Alike but for their seeds and pictures, on one of this project's backbones.
    on_step
        Called with the index of a restoration and the `Record` of each of its steps.

    Returns
    -------
    list of Result or None
        Of each; their seconds are those of all of them. None where the fit diverged: run that by
        itself, which goes back to where it was well.

    Raises
    ------
    InputError
        If they cannot be computed together.
    """
    lead = restorations[0]
    reason = why_apart(restorations)
    if reason:
        raise InputError(f"these runs cannot be computed together: {reason}")
    with lead.at_work():
        courses = [restoration.begin() for restoration in restorations]
        well = set(range(len(courses)))
        for steps in together([course.fit for course in courses]):
            for k, step in enumerate(steps):
                if k in well and not restorations[k].take(courses[k], step):
                    well.remove(k)
                elif k in well and on_step is not None:
                    on_step(k, courses[k].records[-1])
        results = [
            restoration.finish(course) if k in well else None
            for k, (restoration, course) in enumerate(zip(restorations, courses, strict=True))
        ]
    peak = peak_memory(lead.config.device)
    return [
        None if result is None else replace(result, peak_memory=peak, together=len(results))
        for result in results
    ]


def why_apart(restorations: Sequence[Restoration]) -> str | None:
    """Return why restorations cannot be computed together; None if they can.

    Parameters
    ----------
    restorations
        Two or more, or one.
    """
    lead = restorations[0]
    kinds = [
        (r.config.replace(seed=0, noise="auto", white="auto"), r.pixels.shape, _alike(r.plan))
        for r in restorations
    ]
    if any(kind != kinds[0] for kind in kinds):
        return "they differ in more than their seeds and what is seen in their pictures"
    if not lead.plan.steps:
        return "there are no steps to take"
    if any(r.missing is not None for r in restorations):
        return "pixels are missing"
    return why_alone(lead.config)


def _alike(plan: Plan) -> Plan:
    """Return a plan with each restart's guides in one order, whatever a seed makes of it."""
    n = plan.per_restart
    parts = [sorted(plan.stages[k * n : (k + 1) * n], key=repr) for k in range(plan.restarts)]
    return replace(plan, stages=tuple(stage for part in parts for stage in part))


def why_alone(config: Config) -> str | None:
    """Return why a run with a config is computed by itself; None if nothing in it says so.

    Parameters
    ----------
    config
        Its settings, whether or not they are filled in; the latter may say more.
    """
    c = config
    reasons = {
        "a fit that may stop is watched by itself": c.stopping != "none",
        "each seed has an order of guides of its own": c.guide_order.startswith("shuffled")
        and (c.rebuild_optimizer or c.reset_batchnorm or c.learning_rate_schedule != "constant"),
        "averages belong to one fit": bool(c.weight_average or c.output_average),
        "gradients are clipped for a fit by itself": c.clip_gradients is not None,
        f"the backbone {c.backbone} is none of this project's": c.backbone
        not in backbones.BACKBONES,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
