"""Claims held against the results of an ablation, by intervals over pictures.

A comparison is true if the whole interval lies on the side that is claimed, false if all of it lies
on the other, else open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guided_dip.experiments.ablation.design import BASE, Ablation, Claim, Comparison
from guided_dip.experiments.ablation.line import Line
from guided_dip.experiments.ablation.statistics import Estimate, difference, mean_of
from guided_dip.experiments.claims import Part, Verdict, decimal, verdict_of

Lines = Mapping[str, Sequence[Line]]

_IN_WORDS = {
    "psnr": ("PSNR", "dB"),
    "final_psnr": ("PSNR of the last step", "dB"),
    "best_psnr": ("best PSNR (oracle)", "dB"),
    "lost": ("lost from the best step to the last", "dB"),
    "trend_drop": ("lost at the end, of the trend", "dB"),
    "best_at": ("best at", "of the run"),
    "loss_jump": ("jump of the loss", "times the usual change"),
    "psnr_jump": ("jump of the PSNR", "times the usual change"),
    "early_sigma": ("noise of the early outputs", "of 255"),
    "over_guides": ("over the guides' own mean by", "dB"),
    "noise_kept": ("noise kept", ""),
    "brightness_gain": ("brighter than the original by", ""),
    "saturation_gain": ("more saturated than the original by", ""),
    "green_gain": ("greener than the original by", ""),
}


@dataclass(frozen=True)
class Answer:
    """A claim and what the results say of it."""

    claim: Claim
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> Verdict:
        """What follows from the parts."""
        return verdict_of(self.parts)


def answers(ablation: Ablation, lines: Sequence[Line]) -> tuple[Answer, ...]:
    """Judge the claims of an ablation.

    Parameters
    ----------
    ablation
        Whose claims.
    lines
        Of its table.
    """
    found = by_reference(lines)
    return tuple(
        Answer(claim, tuple(judge(part, found) for part in claim.parts))
        for claim in ablation.claims
    )


def by_reference(lines: Sequence[Line]) -> Lines:
    """Gather lines by what claims call their level."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        base = line.factor == BASE
        reference = line.base if base else f"{line.base}/{line.factor}/{line.level}"
        found.setdefault(reference, []).append(line)
    return found


def judge(part: Comparison, lines: Lines) -> Part:
    """Judge one comparison.

    Parameters
    ----------
    part
        What is compared.
    lines
        By reference.
    """
    of = lines.get(part.of, ())
    if part.over is None:
        found = mean_of(of, part.number)
    else:
        found = difference(of, lines.get(part.over, ()), part.number)
    limit = part.more_than if part.more_than is not None else part.less_than
    assert limit is not None, "a comparison has one of them"
    claimed = f"{'>' if part.more_than is not None else '<'} {limit:g}"
    name, unit = _IN_WORDS.get(part.number, (part.number, ""))
    runs = part.of if part.over is None else f"{part.of} against {part.over}"
    if found is None:
        return Part(f"{runs}: {name} {claimed}: not measured")
    margin = found.mean - limit if part.more_than is not None else limit - found.mean
    half = math.inf if found.half is None else found.half
    return Part(
        f"{runs}: {name} {told(found, part.over is not None, unit)} {claimed}", margin, half
    )


def told(found: Estimate, signed: bool, unit: str = "", digits: int = 2) -> str:
    """Write an estimate with its interval and its number of pictures."""
    half = "" if found.half is None else f" \N{PLUS-MINUS SIGN} {found.half:.{digits}f}"
    number = decimal(found.mean, digits, signed=signed) + half
    pictures = len(found.by_picture)
    of = f"{pictures} picture{'s' * (pictures > 1)}, {found.runs} runs"
    return f"{number}{' ' * bool(unit)}{unit} ({of})"
