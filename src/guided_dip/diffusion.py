r"""The DDPM forward process: beta schedules, noise conventions, noise level <-> timestep.

With ``alpha_bar[t] = prod_{s <= t} (1 - beta[s])`` (Ho et al., NeurIPS 2020, eq. 4) a clean image
reaches timestep ``t`` in one step::

    x_t = sqrt(alpha_bar_t) * x_0 + sqrt(1 - alpha_bar_t) * eps,    eps ~ N(0, I)

Here ``t`` is 0-based. That equation wants an image in [-1, 1]; ours lie in [0, 1], and three
conventions say what is done about it. All three are an affine map of the same noisy image::

    x_t = signal * x_0 + noise * eps + shift

=============  =====================  =================================  ==========================
convention     signal                 noise                              shift
=============  =====================  =================================  ==========================
``offset``     sqrt(alpha_bar)        0.5 * sqrt(1 - alpha_bar)          0.5 * sqrt(1 - alpha_bar)
``centred``    sqrt(alpha_bar)        0.5 * sqrt(1 - alpha_bar)          0.5 * (1 - sqrt(alpha_bar))
``unbiased``   1                      sigma_t                            0
=============  =====================  =================================  ==========================

``offset`` is what the report's code does (it adds ``0.5 * eps + 0.5`` to an image in [0, 1], which
brightens the expected guide); ``centred`` maps [0, 1] to [-1, 1] and back, as the textbook has it;
``unbiased`` divides by sqrt(alpha_bar) before mapping back, so that the guide is the image plus
noise of standard deviation ``sigma_t = 0.5 * sqrt((1 - alpha_bar_t) / alpha_bar_t)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError, choices

TIMESTEPS = 1000
LOWER_CLIP = 1e-4  # of the betas: what the report's code has, and text-book schedules have not
SCHEDULES = ("linear", "cosine", "sigmoid")
CONVENTIONS = ("offset", "centred", "unbiased")

ScheduleName = Literal["linear", "cosine", "sigmoid"]
Convention = Literal["offset", "centred", "unbiased"]

# A numpy array or a torch tensor: the forward process is the same arithmetic on both.
Array = TypeVar("Array", bound=Any)


def linear_betas(
    timesteps: int = TIMESTEPS, *, first: float = 1e-4, last: float = 0.02
) -> NDArray[np.float64]:
    """Evenly spaced noise rates (Ho et al., NeurIPS 2020, section 4).

    Parameters
    ----------
    timesteps
        Length ``T`` of the schedule.
    first, last
        ``beta[0]`` and ``beta[T - 1]``.

    Returns
    -------
    beta : (T,), float64
    """
    return np.linspace(first, last, timesteps, dtype=np.float64)


def cosine_betas(
    timesteps: int = TIMESTEPS, *, s: float = 0.008, upper_clip: float = 0.999
) -> NDArray[np.float64]:
    """Noise rates whose alpha_bar follows a squared cosine (Nichol & Dhariwal, ICML 2021, eq. 17).

    Parameters
    ----------
    timesteps
        Length ``T`` of the schedule.
    s
        Offset that keeps the first rates from vanishing.
    upper_clip
        Largest rate, which keeps the last step from being singular.

    Returns
    -------
    beta : (T,), float64
    """
    u = np.arange(timesteps + 1) / timesteps
    f = np.cos((u + s) / (1 + s) * (math.pi / 2)) ** 2
    return np.asarray(np.minimum(1 - f[1:] / f[:-1], upper_clip), dtype=np.float64)


def sigmoid_betas(
    timesteps: int = TIMESTEPS, *, first: float = 1e-4, last: float = 0.02, reach: float = 6.0
) -> NDArray[np.float64]:
    """Noise rates that rise along a sigmoid (Xu et al., GeoDiff, ICLR 2022; diffusers' "sigmoid").

    Parameters
    ----------
    timesteps
        Length ``T`` of the schedule.
    first, last
        What the rates start from and approach.
    reach
        The sigmoid is taken from ``-reach`` to ``reach``.

    Returns
    -------
    beta : (T,), float64
    """
    u = np.linspace(-reach, reach, timesteps, dtype=np.float64)
    return first + (last - first) / (1 + np.exp(-u))


_BETAS: Mapping[str, Callable[[int], NDArray[np.float64]]] = {
    "linear": linear_betas,
    "cosine": cosine_betas,
    "sigmoid": sigmoid_betas,
}


@dataclass(frozen=True, eq=False)
class Schedule:
    """A beta schedule and what follows from it.

    Attributes
    ----------
    name
        ``linear``, ``cosine`` or ``sigmoid``.
    beta : (T,), float64
        Noise rates, read-only.
    alpha_bar : (T,), float64
        Cumulative product of ``1 - beta``, up to and including ``beta[t]``; read-only.
    sigma : (T,), float64
        Noise level of the unbiased guide at each timestep, in [0, 1] units; increasing, read-only.
    """

    name: str
    beta: NDArray[np.float64]
    alpha_bar: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.beta)

    @classmethod
    def from_betas(cls, name: str, beta: NDArray[np.float64]) -> Schedule:
        """Derive ``alpha_bar`` and ``sigma`` from noise rates in (0, 1).

        Parameters
        ----------
        name
            What it is called.
        beta : (T,)
            Noise rates, each between 0 and 1.

        Returns
        -------
        Schedule

        Raises
        ------
        InputError
            If they are no list of such numbers.

        Examples
        --------
        >>> Schedule.from_betas("mine", [0.1, 0.2]).alpha_bar.round(2).tolist()
        [0.9, 0.72]
        """
        beta = np.array(beta, dtype=np.float64)
        if beta.ndim != 1 or not beta.size or not ((beta > 0) & (beta < 1)).all():
            raise InputError("a beta schedule is a list of numbers between 0 and 1 (exclusive)")
        alpha_bar = np.cumprod(1 - beta, dtype=np.float64)
        sigma = 0.5 * np.sqrt((1 - alpha_bar) / alpha_bar)
        for array in (beta, alpha_bar, sigma):
            array.flags.writeable = False
        return cls(name, beta, alpha_bar, sigma)


@lru_cache(maxsize=16)
def make_schedule(
    name: str = "cosine", *, timesteps: int = TIMESTEPS, lower_clip: float = 0.0
) -> Schedule:
    """Build a schedule by name.

    Parameters
    ----------
    name
        ``linear``, ``cosine`` or ``sigmoid``.
    timesteps
        Length ``T``.
    lower_clip
        Smallest beta. The report's code has 1e-4, which changes 13 of its cosine betas; 0 is the
        textbook's (and diffusers') schedule.

    Raises
    ------
    InputError
        For an unknown name, a non-positive length, or a clip outside [0, 1).

    Examples
    --------
    >>> round(float(make_schedule("cosine").alpha_bar[40]), 5)
    0.99434
    >>> round(float(make_schedule("cosine", lower_clip=1e-4).alpha_bar[40]), 5)
    0.99395
    """
    if name not in SCHEDULES:
        raise InputError(f"unknown schedule '{name}': {choices(name, SCHEDULES)}")
    if timesteps < 1:
        raise InputError(f"a schedule needs at least 1 timestep, not {timesteps}")
    if not 0 <= lower_clip < 1:
        raise InputError(f"the lower clip of beta lies in [0, 1), not {lower_clip:g}")
    return Schedule.from_betas(name, np.maximum(_BETAS[name](timesteps), lower_clip))


class Coefficients(NamedTuple):
    """``x_t = signal * x_0 + noise * eps + shift``, images in [0, 1]."""

    signal: float
    noise: float
    shift: float


def coefficients(schedule: Schedule, t: int, convention: str = "unbiased") -> Coefficients:
    """Return the forward process at timestep `t` under a noise convention (see the module's table).

    Parameters
    ----------
    schedule
        Beta schedule.
    t
        0-based timestep.
    convention
        ``offset``, ``centred`` or ``unbiased``.

    Returns
    -------
    Coefficients
        ``x_t = signal * x_0 + noise * eps + shift``.

    Raises
    ------
    InputError
        For a timestep outside the schedule or an unknown convention.

    Examples
    --------
    >>> schedule = make_schedule("cosine", lower_clip=1e-4)
    >>> [round(value, 4) for value in coefficients(schedule, 40, "offset")]
    [0.997, 0.0389, 0.0389]
    """
    check_timestep(schedule, t)
    if convention not in CONVENTIONS:
        raise InputError(f"unknown convention '{convention}': {choices(convention, CONVENTIONS)}")
    if convention == "unbiased":
        return Coefficients(1.0, float(schedule.sigma[t]), 0.0)
    root = math.sqrt(schedule.alpha_bar[t])
    noise = 0.5 * math.sqrt(1 - schedule.alpha_bar[t])
    return Coefficients(root, noise, noise if convention == "offset" else 0.5 * (1 - root))


def forward(
    x_0: Array, eps: Array, t: int, schedule: Schedule, *, convention: str = "unbiased"
) -> Array:
    """Diffuse a clean image to timestep `t` in one step.

    Parameters
    ----------
    x_0
        Clean image in [0, 1]; a numpy array or torch tensor of any shape.
    eps
        Standard normal noise of the same shape and kind.
    t
        0-based timestep.
    schedule
        Beta schedule.
    convention
        ``offset``, ``centred`` or ``unbiased``: see the module's table.

    Returns
    -------
    x_t
        The guide, of the same shape and kind.

    Examples
    --------
    >>> schedule = make_schedule("cosine")
    >>> x_0, eps = np.full((2, 2), 0.5), np.ones((2, 2))
    >>> x_t = forward(x_0, eps, 40, schedule)
    >>> bool(np.allclose(x_t, 0.5 + schedule.sigma[40]))
    True
    """
    c = coefficients(schedule, t, convention)
    x_t: Array = x_0 * c.signal + eps * c.noise + c.shift
    return x_t


def forward_from_observation(
    y: Array,
    xi: Array,
    t: int,
    schedule: Schedule,
    *,
    sigma: float,
    convention: str = "unbiased",
) -> Array:
    r"""Continue the forward process from an observation that is already noisy.

    ``y = x_0 + n`` with ``n ~ N(0, sigma^2)`` sits at the timestep whose ``sigma_t`` is `sigma`.
    The rest of the way is ``y + sqrt(sigma_t^2 - sigma^2) * xi``, which has the law of ``x_t``
    given ``x_0``. Under another convention the same guide is then mapped affinely (module's table).

    Parameters
    ----------
    y
        Observation in [0, 1] units.
    xi
        Standard normal noise of the same shape and kind, independent of ``y``.
    t
        0-based timestep, at least as noisy as the observation.
    schedule
        Beta schedule.
    sigma
        Noise level of `y` in [0, 1] units.
    convention
        ``offset``, ``centred`` or ``unbiased``.

    Returns
    -------
    x_t
        The guide, of the same shape and kind.

    Raises
    ------
    InputError
        If timestep `t` is less noisy than the observation.
    """
    c = coefficients(schedule, t, convention)
    added = schedule.sigma[t] ** 2 - sigma**2
    if added < 0:
        raise InputError(
            f"timestep {t} (sigma {schedule.sigma[t] * 255:.1f}/255) is less noisy than the "
            f"observation (sigma {sigma * 255:.1f}/255); start from timestep "
            f"{timestep_of(sigma, schedule)} or later"
        )
    x_t: Array = (y + xi * math.sqrt(added)) * c.signal + c.shift
    return x_t


def timestep_of(sigma: float, schedule: Schedule) -> int:
    """Return the first timestep at least as noisy as `sigma`: ``min {t : sigma_t >= sigma}``.

    Parameters
    ----------
    sigma
        Noise level in [0, 1] units.
    schedule
        Beta schedule.

    Raises
    ------
    InputError
        If `sigma` is negative, not finite, or above the schedule's largest noise level.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise InputError(f"a noise level is a number >= 0, not {sigma!r}")
    t = int(np.searchsorted(schedule.sigma, sigma))
    if t == len(schedule):
        raise InputError(
            f"noise level {sigma * 255:.4g}/255 is above the {schedule.name} schedule's largest, "
            f"{schedule.sigma[-1] * 255:.4g}/255"
        )
    return t


def check_timestep(schedule: Schedule, t: int) -> None:
    """Raise `InputError` unless `t` is a timestep of the schedule.

    Parameters
    ----------
    schedule
        Beta schedule.
    t
        0-based timestep.

    Raises
    ------
    InputError
        If it is none.
    """
    if not 0 <= t < len(schedule):
        raise InputError(
            f"timestep {t} is outside the schedule: it has {len(schedule)} timesteps, "
            f"0 to {len(schedule) - 1}"
        )
