r"""The plan: which guides the network is fitted to, in which order, for how many iterations.

A plan is data: an immutable list of stages, printable and testable, with no torch in it.

*Time generator.* ``count`` timesteps evenly spaced over [start, end], truncated to integers and
visited from most to least noisy; ``count = 1`` means [end].

*Iteration generator.* Stage ``i`` gets a share of the budget ``n`` that falls with its noise rate::

    w_i = exp(-c * beta_i) / sum_k exp(-c * beta_k),    n_i = floor(n * w_i)

and the last stage takes what rounding left over, so that ``sum n_i = n`` exactly.

*Patches.* The first guides of a recorrupted plan, or all, may be fitted to random squares of the
image instead of the whole: a step then costs only the square's share of the pixels, its *work*, and
the guide gets as many more steps, so that it is the work which is shared as above.

*Recorrupted guides* are planned by their recorruption strength ``a`` instead of their timestep.
Continuing the forward process from an observation of noise level ``sigma`` to timestep ``t``
gives ``y + a_t * eta`` with ``eta ~ N(0, sigma^2)`` and ``a_t = sqrt(sigma_t^2 / sigma^2 - 1)``,
so an end ``a`` of the plan is reached at the first ``t`` with ``sigma_t >= sigma * sqrt(1 + a^2)``.
"""

from guided_dip.guidance.generators import DEFAULT_SCALE, iterations, recorruption, timesteps
from guided_dip.guidance.making import SUPERVISIONS, GuideOrder, Supervision, make_plan
from guided_dip.guidance.plan import Patches, Plan, Stage

__all__ = [
    "DEFAULT_SCALE",
    "SUPERVISIONS",
    "GuideOrder",
    "Patches",
    "Plan",
    "Stage",
    "Supervision",
    "iterations",
    "make_plan",
    "recorruption",
    "timesteps",
]
