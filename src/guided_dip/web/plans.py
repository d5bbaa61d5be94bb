"""Plans, to be looked at before anything is computed: which guides, and iterations for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from guided_dip.diffusion import Schedule
    from guided_dip.guidance import Plan


class PlanAsked(BaseModel):
    """What a plan is made of.

    Attributes
    ----------
    count
        Number of guides.
    start, end
        Timesteps of the most and the least noisy guide.
    schedule
        Of the betas.
    scale
        ``c`` of the iteration generator; None for the report's of that schedule.
    steps
        Iterations in all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Annotated[int, Field(ge=1, le=200)] = 20
    start: Annotated[int, Field(ge=0, le=999)] = 500
    end: Annotated[int, Field(ge=0, le=999)] = 40
    schedule: Literal["cosine", "linear", "sigmoid"] = "cosine"
    scale: Annotated[float, Field(ge=0, le=1e6)] | None = None
    steps: Annotated[int, Field(ge=0, le=10**7)] = 2000


class StageTold(BaseModel):
    """A guide.

    Attributes
    ----------
    t
        Its timestep, from 0.
    sigma
        Its noise level, of 255.
    steps
        Iterations for it.
    first_step
        At which they begin.
    """

    t: int
    sigma: float
    steps: int
    first_step: int


class PlanTold(BaseModel):
    """A plan.

    Attributes
    ----------
    stages
        Its guides, in the order in which they are visited.
    steps
        Iterations in all.
    """

    stages: list[StageTold]
    steps: int


def betas_of(schedule: str) -> Schedule:
    """Return a schedule of the report's kind, by its name."""
    from guided_dip.diffusion import LOWER_CLIP, make_schedule

    return make_schedule(schedule, lower_clip=LOWER_CLIP)


def plan_of(
    schedule: str, *, steps: int, count: int, start: int, end: int, scale: float | None
) -> Plan:
    """Make a plan of the report's kind; arguments and errors as of `guidance.make_plan`."""
    from guided_dip.guidance import make_plan

    return make_plan(
        "clean-guides",
        betas_of(schedule),
        steps=steps,
        count=count,
        start=start,
        end=end,
        scale=scale,
    )


def planned(asked: PlanAsked) -> PlanTold:
    """Make a plan of the report's kind.

    Raises
    ------
    InputError
        If there is no such plan.
    """
    plan = plan_of(**asked.model_dump())
    stages = [
        StageTold(t=stage.t or 0, sigma=255 * (stage.sigma or 0), steps=stage.steps, first_step=k)
        for stage, k in zip(plan, plan.boundaries, strict=True)
    ]
    return PlanTold(stages=stages, steps=plan.steps)
