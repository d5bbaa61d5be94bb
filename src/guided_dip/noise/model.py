"""Noise models: name one on the command line, add it to a clean image, make it even.

A Gaussian observation is ``y = x_0 + sigma * n`` with ``n ~ N(0, I)``, ``sigma`` in [0, 1] units
(1.0 is white). On the command line the level is written in 8-bit units: ``gaussian:25`` is
``sigma = 25 / 255``. Where light is counted, ``y = gain * Poisson(x_0 / gain) + sigma * n``, whose
variance ``gain * x_0 + sigma^2`` grows with the light: ``poisson:30`` counts 30 photons at white,
``poisson-gaussian:GAIN,READ`` has GAIN levels of 255 a photon and read noise READ of 255.

Such noise is made even by the generalised Anscombe transform (Starck, Murtagh and Bijaoui, 1998),

    T(y) = 2 sqrt(max(y / gain + 3/8 + (sigma / gain)^2, 0)),

after which it has a standard deviation of about 1 everywhere. A mean ``d`` of T(y) is taken back by
the closed form of the exact unbiased inverse (Makitalo and Foi, IEEE TIP 20, 2011, and 22, 2013),

    x = gain (d^2 / 4 + sqrt(3/2) / (4 d) - 11 / (8 d^2) + 5 sqrt(3/2) / (8 d^3) - 1/8
              - (sigma / gain)^2),

as the plain inverse of a mean would be too dark.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError, choices, quoted

Floats = NDArray[np.float64]
NoiseKind = Literal["gaussian", "poisson", "poisson-gaussian"]

# Noise weaker than half a level of an 8-bit image cannot be told from none.
LEAST_SIGMA = 0.5 / 255
_KINDS: tuple[str, ...] = get_args(NoiseKind)


@dataclass(frozen=True)
class NoiseModel:
    """The noise in one observation.

    Parameters
    ----------
    kind
        ``"gaussian"``: white, additive, the same everywhere; ``"poisson"``: counted light;
        ``"poisson-gaussian"``: both.
    sigma
        Standard deviation of the additive part in [0, 1] units (1.0 is white), finite and not
        negative; 0 for ``"poisson"``.
    gain
        Value of one photon in [0, 1] units; 0 for ``"gaussian"``, above 0 for the others.
    black
        Value of no light, in [0, 1] units: an instrument's pedestal. 0 for ``"gaussian"``.

    Raises
    ------
    InputError
        If there is no such kind, or sigma, gain or black is not usable.

    Examples
    --------
    >>> str(NoiseModel("gaussian", 25 / 255)), str(NoiseModel("poisson", gain=1 / 30))
    ('gaussian:25', 'poisson:30')
    """

    kind: NoiseKind
    sigma: float = 0.0
    gain: float = 0.0
    black: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"unknown kind of noise '{self.kind}': {choices(self.kind, _KINDS)}")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise InputError(f"sigma must be finite and at least 0, got {self.sigma}: try 0.1")
        counted = self.kind != "gaussian"
        if not math.isfinite(self.gain) or (self.gain > 0) is not counted:
            wanted = "finite and above 0" if counted else "0"
            raise InputError(f"the gain of {self.kind} noise must be {wanted}, got {self.gain}")
        if self.kind == "poisson" and self.sigma:
            raise InputError("poisson noise has no sigma: try poisson-gaussian")
        if not math.isfinite(self.black) or (self.black and not counted):
            wanted = "finite" if counted else "0"
            raise InputError(f"black of {self.kind} noise must be {wanted}, got {self.black}")

    def __str__(self) -> str:
        if self.kind == "gaussian":
            return f"gaussian:{self.sigma * 255:.4g}"
        black = f",{self.black * 255:.4g}" if self.black else ""
        if self.kind == "poisson":
            return f"poisson:{1 / self.gain:.4g}{black}"
        return f"poisson-gaussian:{self.gain * 255:.4g},{self.sigma * 255:.4g}{black}"

    @property
    def even_sigma(self) -> float:
        """Standard deviation of what `evened` returns."""
        return 1.0 if self.gain else self.sigma

    def deviation(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the standard deviation of the noise of pixels whose means are given.

        Parameters
        ----------
        pixels
            Any shape, 1.0 is white.
        """
        light = np.maximum(pixels - self.black, 0)
        deviation: NDArray[Any] = np.sqrt(self.gain * light + self.sigma**2)
        return deviation

    def evened(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels whose noise is the same everywhere: the generalised Anscombe transform.

        Parameters
        ----------
        pixels
            Any shape, 1.0 is white. Gaussian noise is even already, and they come back as they are.
        """
        if not self.gain:
            return pixels
        counts = (pixels - self.black) / self.gain + (0.375 + (self.sigma / self.gain) ** 2)
        evened: NDArray[Any] = 2 * np.sqrt(np.maximum(counts, 0))
        return evened

    def unevened(self, values: NDArray[Any]) -> NDArray[Any]:
        """Take means of `evened` pixels back to the image's own values, without bias.

        Parameters
        ----------
        values
            Any shape.

        Returns
        -------
        ndarray
            In the image's own values.
        """
        if not self.gain:
            return values
        d = np.maximum(values, 2 * math.sqrt(0.375))  # below, the closed form does not hold
        root = math.sqrt(1.5)
        counts = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 0.125
        light: NDArray[Any] = np.maximum(counts - (self.sigma / self.gain) ** 2, 0) * self.gain
        return light + self.black

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return how much an image's value changes with its `evened` one.

        Parameters
        ----------
        values
            Evened ones, any shape.
        """
        return self.gain * values / 2 if self.gain else np.ones_like(values)

    def photons(self, pixels: NDArray[Any]) -> float | None:
        """Return how many photons would make noise like a middling pixel's; None if even.

        Parameters
        ----------
        pixels
            The noisy image, any shape.
        """
        if not self.gain:
            return None
        light = (float(np.median(pixels)) - self.black) / self.gain
        return max(light, 0.0) + (self.sigma / self.gain) ** 2

    def scaled(self, factor: float) -> NoiseModel:
        """Return the same kind of noise with `factor` times the standard deviation everywhere.

        Parameters
        ----------
        factor
            Above 0.

        Returns
        -------
        NoiseModel
        """
        return replace(self, sigma=self.sigma * factor, gain=self.gain * factor**2)


def parse_noise(text: str) -> NoiseModel | None:
    """Read the noise option of the command line.

    Parameters
    ----------
    text
        ``"gaussian:25"``, the level in 8-bit units (255 is white); ``"poisson:30"``, the photons
        at white; ``"poisson-gaussian:GAIN,READ"``, both in 8-bit units; or ``"auto"``. A further
        number after the last two is the value of no light in 8-bit units, such as ``poisson:30,3``.

    Returns
    -------
    NoiseModel or None
        None for ``"auto"``: to be estimated.

    Raises
    ------
    InputError
        If the kind is unknown, or the level is missing, no number, negative or not finite.

    Examples
    --------
    >>> parse_noise("gaussian:51")
    NoiseModel(kind='gaussian', sigma=0.2, gain=0.0, black=0.0)

    >>> parse_noise("gaussian:25").sigma == 25 / 255
    True
    >>> parse_noise("poisson:30").gain == 1 / 30
    True
    """
    kind, colon, level = (part.strip() for part in text.partition(":"))
    kind = kind.lower()
    if kind == "auto" and not colon:
        return None
    if kind == "none" and not colon:
        return NoiseModel("gaussian")
    if kind == "auto":
        raise InputError(
            f"noise {quoted(text)}: auto takes no level; try auto, or gaussian:25 to state it"
        )
    if kind not in _KINDS:
        known = choices(kind, [*_KINDS, "auto"])
        level = kind if re.fullmatch(r"\d{1,3}(\.\d{1,9})?", kind) else "25"
        raise InputError(
            f"noise {quoted(text)}: unknown kind {quoted(kind)}, {known}; try gaussian:{level} or "
            "auto"
        )
    names, example = _LEVELS_OF[kind]
    given = level.split(",") if level else []
    if kind != "gaussian" and len(given) > len(names):
        names = (*names, "the value of no light")
    levels = _levels(text, given, names, f"{kind}:{example}")
    if kind == "gaussian":
        return NoiseModel("gaussian", levels[0] / 255)
    if 0 in levels[:1]:
        raise InputError(f"noise {quoted(text)}: {names[0]} must be above 0; try {kind}:{example}")
    black = levels[-1] / 255 if names[-1] == "the value of no light" else 0.0
    if kind == "poisson":
        return NoiseModel("poisson", gain=1 / levels[0], black=black)
    return NoiseModel("poisson-gaussian", levels[1] / 255, levels[0] / 255, black)


_LEVELS_OF = {
    "gaussian": (("the level",), "25"),
    "poisson": (("the number of photons at white",), "30"),
    "poisson-gaussian": (("the gain", "the read noise"), "2,5"),
}


def _levels(text: str, given: list[str], names: tuple[str, ...], example: str) -> list[float]:
    """Read the numbers of a noise option, or say which of them is wrong."""
    where = f"noise {quoted(text)}"
    if len(given) < len(names):
        raise InputError(f"{where}: {names[len(given)]} is missing; try {example}")
    if len(given) > len(names):
        raise InputError(f"{where}: there are more numbers than {len(names)}; try {example}")
    levels = []
    for number, name in zip(given, names, strict=True):
        try:
            level = float(number)
        except ValueError:
            raise InputError(f"{where}: {quoted(number)} is not a number; try {example}") from None
        if not math.isfinite(level) or level < 0:
            raise InputError(
                f"{where}: {name} must be finite and at least 0 (255 is white); try {example}"
            )
        levels.append(level)
    return levels


def add_gaussian_noise(image: NDArray[np.floating[Any]], sigma: float, seed: int) -> Floats:
    """Add white Gaussian noise, the same for the same seed.

    Parameters
    ----------
    image
        (H, W) or (H, W, C), float in [0, 1].
    sigma
        Standard deviation in [0, 1] units.
    seed
        Of ``numpy.random.default_rng``.

    Returns
    -------
    ndarray
        ``image + default_rng(seed).standard_normal(image.shape) * sigma``, float64, the shape of
        ``image``, unclipped.

    Examples
    --------
    >>> noisy = add_gaussian_noise(np.full((64, 64), 0.5), sigma=25 / 255, seed=0)
    >>> round(float(noisy.std() * 255))
    25
    """
    draw = np.random.default_rng(seed).standard_normal(image.shape)
    return np.asarray(image, dtype=np.float64) + draw * sigma


def add_noise(image: NDArray[np.floating[Any]], model: NoiseModel, seed: int) -> Floats:
    """Add noise of a model, the same for the same seed.

    Parameters
    ----------
    image
        (H, W) or (H, W, C), float, at least 0 where light is counted.
    model
        The noise.
    seed
        Of ``numpy.random.default_rng``; counts are drawn first, then the additive part.

    Returns
    -------
    ndarray
        float64, the shape of ``image``, unclipped.

    Examples
    --------
    >>> counted = add_noise(np.full((64, 64), 0.5), parse_noise("poisson:20"), seed=0)
    >>> photons = counted * 20  # whole ones, 20 at white
    >>> bool(np.allclose(photons, np.rint(photons)))
    True
    """
    if not model.gain:
        return add_gaussian_noise(image, model.sigma, seed)
    rng = np.random.default_rng(seed)
    light = np.maximum(np.asarray(image, np.float64) - model.black, 0)
    counts = rng.poisson(light / model.gain)
    read: Floats = model.sigma * rng.standard_normal(image.shape)
    return counts * model.gain + read + model.black
