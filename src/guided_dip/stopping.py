"""Early-stopping rules for plain DIP, to compare with: consumers of the record stream.

Both watch the variance of the network's raw outputs, which falls while the picture settles and
rises again when the noise is fitted (Wang et al., "Early Stopping for Deep Image Prior", TMLR
2023). The output at the smallest variance is the result; the fit may stop once no smaller one has
been seen for `patience` steps.

*ES-WMV* takes the variance over a moving window of ``W`` outputs::

    VAR = 1/W * sum_w ||x_w - mean(x)||^2

*ES-EMV* follows it by exponential averages, in the memory of one image::

    EMA <- (1 - alpha) EMA + alpha x
    EMV <- (1 - alpha) EMV + alpha (1 - alpha) ||x - EMA_before||^2
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class EarlyStopping(ABC):
    """Remembers the output at the smallest variance so far.

    Parameters
    ----------
    patience
        Steps without a smaller variance after which the fit may stop.

    Attributes
    ----------
    best : (1, C, H, W) tensor or None
        The output at the smallest variance; None before there is a first variance.
    best_step : int or None
        Its 0-based step.
    """

    def __init__(self, patience: int = 1000) -> None:
        self.patience = patience
        self.best: Tensor | None = None
        self.best_step: int | None = None
        self.smallest = math.inf
        self._step = -1

    @abstractmethod
    def variance(self, output: Tensor) -> float | None:
        """Take in an output and return the current variance, or None while there is none yet.

        Parameters
        ----------
        output : (1, C, H, W)
            The step's raw output.

        Returns
        -------
        float or None
            Of the pixels' sum, in squared image units.
        """

    def update(self, output: Tensor) -> bool:
        """Take in the next output; return True once the fit may stop.

        Parameters
        ----------
        output
            The step's raw output, (1, C, H, W).

        Returns
        -------
        bool
            Whether there was no smaller variance for `patience` steps.
        """
        self._step += 1
        now = self.variance(output)
        if now is not None and now < self.smallest:
            self.smallest, self.best, self.best_step = now, output.clone(), self._step
        return self.best_step is not None and self._step - self.best_step >= self.patience

    def state(self) -> dict[str, Any]:
        """Return all that its further judgement depends on: tensors and plain values."""
        return {name: _copied(value) for name, value in vars(self).items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned, which is left as it is.

        Parameters
        ----------
        state
            Of a rule of the same kind.
        """
        vars(self).update({name: _copied(value) for name, value in state.items()})


def _copied(value: Any) -> Any:
    """Copy what may be changed in place; outputs in a list never are."""
    if isinstance(value, Tensor):
        return value.clone()
    return list(value) if isinstance(value, list) else value


class WindowedVariance(EarlyStopping):
    """ES-WMV: the variance over the last `window` outputs, all of them kept in memory.

    Parameters
    ----------
    window
        How many, at least 1.
    patience
        As for `EarlyStopping`.

    Examples
    --------
    >>> rule = WindowedVariance(window=2, patience=1)
    >>> [rule.update(torch.full((1, 1, 1, 1), value)) for value in (0.0, 3.0, 4.0, 7.0)]
    [False, False, False, True]
    >>> rule.best_step
    2
    """

    def __init__(self, window: int = 100, patience: int = 1000) -> None:
        super().__init__(patience)
        self.window = window
        self._outputs: list[Tensor] = []
        self._sum: Tensor | None = None
        self._squares = 0.0

    def variance(self, output: Tensor) -> float | None:
        """Return the windowed variance of the pixels' sum, or None before the window is full."""
        # In float64 the running sums stay exact enough however long the run: an output's square
        # leaves the sum as it entered.
        now = output.double()
        if self._sum is None:
            self._sum = now.new_zeros(now.shape)
        if len(self._outputs) == self.window:
            oldest = self._outputs.pop(0).double()
            self._sum -= oldest
            self._squares -= float(oldest.square().sum())
        self._outputs.append(output.clone())
        self._sum += now
        self._squares += float(now.square().sum())
        if len(self._outputs) < self.window:
            return None
        mean = self._sum / self.window
        return max(0.0, self._squares / self.window - float(mean.square().sum()))


class MovingVariance(EarlyStopping):
    """ES-EMV: exponential moving average and variance, weight `alpha` on the newest output.

    Parameters
    ----------
    alpha
        Between 0 and 1.
    patience
        As for `EarlyStopping`.
    """

    def __init__(self, alpha: float = 0.1, patience: int = 1000) -> None:
        super().__init__(patience)
        self.alpha = alpha
        self._mean: Tensor | None = None
        self._variance = 0.0

    def variance(self, output: Tensor) -> float:
        """Return the moving variance of the pixels' sum."""
        if self._mean is None:
            # From an average of zero the variance starts high and forgets its start within some
            # dozens of steps; from the first output it would start at zero, its smallest value.
            self._mean = torch.zeros_like(output)
        distance = float((output - self._mean).double().square().sum())
        self._variance = (1 - self.alpha) * (self._variance + self.alpha * distance)
        self._mean.lerp_(output, self.alpha)
        return self._variance


def make_stopping(name: str) -> EarlyStopping | None:
    """Return the rule of a config's ``stopping``: ``none``, ``es-wmv`` or ``es-emv``.

    Parameters
    ----------
    name
        One of these.

    Returns
    -------
    EarlyStopping or None
        None for ``none``.
    """
    return (
        {"es-wmv": WindowedVariance, "es-emv": MovingVariance}[name]() if name != "none" else None
    )
