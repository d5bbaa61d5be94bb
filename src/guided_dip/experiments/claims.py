"""The report's claims (a) to (g), each judged from numbers by a rule that stands here.

A claim is a list of parts, each a *margin*: a number that is positive where the part is true, and
its spread over seeds. A part is true if its margin is above the spread, false if it is below minus
the spread, else open. One false part refutes a claim; it holds if all its parts are true.

A row of a single seed has no spread of its own. It is given the largest of the arm's other rows
for the same number, or, if all rows have a single seed, a usual one (`USUAL`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from guided_dip.experiments.rows import REPORTED_STEPS, ROWS, Arm
from guided_dip.experiments.scores import ArmNumbers, Mean, RowNumbers, RunNumbers

Verdict = Literal["holds", "does not hold", "undecided"]
Get = Callable[[RunNumbers], float | None]

WORTH_STOPPING = 0.1  # dB to be had by stopping; less is none
NEAR_THE_END = 0.8  # of the run
NO_STOPPING = 0.5  # dB lost at the end that nobody would miss
JUMP = 2.0  # times the usual change
FEW_GREENS = 0.01  # mean green excess of a picture with no green to lose
LOST_GREEN = 0.5  # of the green is gone

STATEMENTS = {
    "a": "SegNet restores better than UNet.",
    "b": "Cosine beats linear in every experiment, and beats DIP on both backbones.",
    "c": "Plain DIP has to be stopped: early on SegNet, late on UNet.",
    "d": "Guided-DIP's best lies near the end, so it needs no stopping point.",
    "e": "PSNR and loss jump when the target changes.",
    "f": "UNet's pictures are darker and greyer, and linear UNet loses the green.",
    "g": "With cosine the early outputs are less noisy.",
}


@dataclass(frozen=True)
class Measure:
    """A number of a run that claims are about.

    Attributes
    ----------
    get
        Reads it.
    usual
        Spread over seeds where none is known.
    unit, digits
        For words.
    """

    get: Get
    usual: float
    unit: str = ""
    digits: int = 2


FINAL = Measure(lambda run: run.final_psnr, 0.5, " dB")
DROP = Measure(lambda run: run.trend_drop, 0.1, " dB")
WHEN = Measure(lambda run: run.best_step / max(1, run.steps - 1), 0.05, " of the run")
LOSS_JUMP = Measure(lambda run: run.loss_jump, 0.2, " times the usual change", 1)
PSNR_JUMP = Measure(lambda run: run.psnr_jump, 0.2, " times the usual change", 1)
NOISE = Measure(lambda run: _of_255(run.early_sigma), 0.5, "/255", 1)
DARKER = Measure(lambda run: _below(run, "brightness"), 0.005, "", 3)
GREYER = Measure(lambda run: _below(run, "saturation"), 0.005, "", 3)
GREEN = Measure(lambda run: _green_kept(run), 0.1, " of the green")


@dataclass(frozen=True)
class Part:
    """One comparison of a claim: true if the margin is above its spread; None if not measured."""

    words: str
    margin: float | None = None
    spread: float = 0.0

    @property
    def truth(self) -> bool | None:
        """Whether it is true; None if that is open."""
        if self.margin is None or abs(self.margin) <= self.spread:
            return None
        return self.margin > 0

    @property
    def line(self) -> str:
        """The numbers in words, and whether they say that it is true."""
        marks = {True: "true", False: "false", None: "open"}
        return f"{self.words} ({marks[self.truth]})"


def verdict_of(parts: Sequence[Part]) -> Verdict:
    """Return what follows from the parts of a claim."""
    truths = [part.truth for part in parts]
    if False in truths:
        return "does not hold"
    return "holds" if truths and all(truths) else "undecided"


@dataclass(frozen=True)
class Claim:
    """A claim of the report and what the numbers say of it."""

    letter: str
    parts: tuple[Part, ...]

    @property
    def statement(self) -> str:
        """What the report claims."""
        return STATEMENTS[self.letter]

    @property
    def verdict(self) -> Verdict:
        """What follows from the parts."""
        return verdict_of(self.parts)

    @property
    def lines(self) -> tuple[str, ...]:
        """The numbers in words, a line a part."""
        return tuple(part.line for part in self.parts)


def judge(arm: ArmNumbers) -> tuple[Claim, ...]:
    """Judge all claims from the rows of one arm.

    Parameters
    ----------
    arm
        Its numbers; rows may be missing.
    """
    rules = {"a": _a, "b": _b, "c": _c, "d": _d, "e": _e, "f": _f, "g": _g}
    return tuple(Claim(letter, tuple(rule(arm))) for letter, rule in rules.items())


def judge_report() -> tuple[Claim, ...]:
    """Judge claims (a) to (d) by the same rules from the report's own table."""
    rows = []
    for row in ROWS:
        said = row.reported
        # The report gives no curves: what was lost from the best step stands in for the trend.
        drop = max(0.0, said.best_psnr - said.final_psnr)
        run = RunNumbers(
            0,
            REPORTED_STEPS,
            said.final_psnr,
            said.final_loss,
            said.best_psnr,
            said.best_step,
            drop,
        )
        rows.append(RowNumbers(row, (run,)))
    return judge(ArmNumbers(Arm("clean-guides", "offset"), tuple(rows)))[:4]


def _a(arm: ArmNumbers) -> list[Part]:
    pairs = [("dip-segnet", "dip-unet"), *((f"segnet-{s}", f"unet-{s}") for s in _SCHEDULES)]
    return [_better(arm, one, other, FINAL) for one, other in pairs]


def _b(arm: ArmNumbers) -> list[Part]:
    pairs = [(f"{b}-cosine", f"{b}-linear") for b in _BACKBONES]
    pairs += [(f"{b}-cosine", f"dip-{b}") for b in _BACKBONES]
    return [_better(arm, one, other, FINAL) for one, other in pairs]


def _c(arm: ArmNumbers) -> list[Part]:
    worth = [_above(arm, f"dip-{b}", DROP, WORTH_STOPPING, "loses") for b in _BACKBONES]
    late = _above(arm, "dip-unet", WHEN, 0.5, "has its best at")
    return [*worth, late, _above(arm, "dip-segnet", WHEN, 0.5, "has its best at", sign=-1)]


def _d(arm: ArmNumbers) -> list[Part]:
    near = [_above(arm, row, WHEN, NEAR_THE_END, "has its best at") for row in _GUIDED]
    return near + [_above(arm, row, DROP, NO_STOPPING, "loses", sign=-1) for row in _GUIDED]


def _e(arm: ArmNumbers) -> list[Part]:
    what = (("PSNR moves by", PSNR_JUMP), ("loss moves by", LOSS_JUMP))
    return [_above(arm, row, m, JUMP, words) for row in _GUIDED for words, m in what]


def _f(arm: ArmNumbers) -> list[Part]:
    unets = ("dip-unet", "unet-linear", "unet-cosine")
    looks = (("is darker than the original by", DARKER), ("is greyer by", GREYER))
    parts = [_above(arm, row, m, 0.0, words, bar=False) for row in unets for words, m in looks]
    return [*parts, _green(arm)]


def _green(arm: ArmNumbers) -> Part:
    originals = [run.original for row in arm.rows for run in row.runs if run.original is not None]
    if originals and originals[0].green < FEW_GREENS:
        return Part(f"the picture has no green to lose (mean excess {originals[0].green:.4f})")
    return _above(arm, "unet-linear", GREEN, LOST_GREEN, "keeps", sign=-1)


def _g(arm: ArmNumbers) -> list[Part]:
    return [_better(arm, f"{b}-linear", f"{b}-cosine", NOISE) for b in _BACKBONES]


_BACKBONES = ("unet", "segnet")
_SCHEDULES = ("linear", "cosine")
_GUIDED = tuple(row.key for row in ROWS if row.schedule)


def _better(arm: ArmNumbers, one: str, other: str, measure: Measure) -> Part:
    """Compare two rows: the margin is how far the first stands above the other."""
    first, second = _mean(arm, one, measure), _mean(arm, other, measure)
    if first is None or second is None:
        absent = [key for key, mean in ((one, first), (other, second)) if mean is None]
        return Part(f"{one} against {other}: no figure of {' and '.join(absent)}")
    spread = math.hypot(_spread(arm, first, measure), _spread(arm, second, measure))
    margin = first.value - second.value
    d, unit = measure.digits, measure.unit
    words = f"{one} {first.value:.{d}f} against {other} {second.value:.{d}f}{unit}"
    return Part(
        f"{words}: {decimal(margin, d, signed=True)}, spread {spread:.{d}f}", margin, spread
    )


def _above(
    arm: ArmNumbers,
    key: str,
    measure: Measure,
    bar_at: float,
    words: str,
    *,
    sign: int = 1,
    bar: bool = True,
) -> Part:
    """Compare a row with a bar: the margin is how far it stands above (sign 1) or below it."""
    mean = _mean(arm, key, measure)
    if mean is None:
        return Part(f"{key}: no figure")
    spread, d = _spread(arm, mean, measure), measure.digits
    said = f"{key} {words} {decimal(mean.value, d)}{measure.unit}, spread {spread:.{d}f}"
    side = "above" if sign > 0 else "below"
    asked = f", asked: {side} {bar_at:g}" if bar else ""
    return Part(said + asked, sign * (mean.value - bar_at), spread)


def _mean(arm: ArmNumbers, key: str, measure: Measure) -> Mean | None:
    row = arm[key]
    return None if row is None else row.mean(measure.get)


def _spread(arm: ArmNumbers, mean: Mean, measure: Measure) -> float:
    if mean.std is not None:
        return mean.std
    others = [row.mean(measure.get) for row in arm.rows]
    known = [other.std for other in others if other is not None and other.std is not None]
    return max(known, default=measure.usual)


def decimal(value: float, digits: int, *, signed: bool = False) -> str:
    """Write a number with a true minus sign, and zero without a sign.

    Parameters
    ----------
    value
        The number.
    digits
        After the point.
    signed
        Whether what is above zero has a plus sign.

    Examples
    --------
    >>> decimal(1.25, 1, signed=True), decimal(-0.04, 1, signed=True)
    ('+1.2', '0.0')
    """
    rounded = round(value, digits) or 0.0
    sign = "+" if signed and rounded else ""
    return f"{rounded:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _of_255(sigma: float | None) -> float | None:
    return None if sigma is None else sigma * 255


def _below(run: RunNumbers, name: str) -> float | None:
    if run.colours is None or run.original is None:
        return None
    return float(getattr(run.original, name) - getattr(run.colours, name))


def _green_kept(run: RunNumbers) -> float | None:
    if run.colours is None or run.original is None or not run.original.green:
        return None
    return run.colours.green / run.original.green
