"""Plans, to be looked at before anything is computed: which guides, and iterations for each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LOWER_CLIP = 1e-4  # of the betas, as in the report's code


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


def planned(asked: PlanAsked) -> PlanTold:
    """Make a plan of the report's kind.

    Raises
    ------
    InputError
        If there is no such plan.
    """
    from guided_dip.diffusion import make_schedule
    from guided_dip.guidance import make_plan

    plan = make_plan(
        "clean-guides",
        make_schedule(asked.schedule, lower_clip=LOWER_CLIP),
        steps=asked.steps,
        count=asked.count,
        start=asked.start,
        end=asked.end,
        scale=asked.scale,
    )
    stages = [
        StageTold(t=stage.t or 0, sigma=255 * (stage.sigma or 0), steps=stage.steps, first_step=k)
        for stage, k in zip(plan, plan.boundaries, strict=True)
    ]
    return PlanTold(stages=stages, steps=plan.steps)
