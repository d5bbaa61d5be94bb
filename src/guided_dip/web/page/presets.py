"""Settings with a name, for pictures that many people have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Settings with a name.

    Attributes
    ----------
    title
        In the list.
    about
        When to take it.
    values
        By the form's names; everything else is as it is on a new page.
    """

    title: str
    about: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sets(self) -> str:
        """What it sets, for people."""
        return ", ".join(f"{name} {value}" for name, value in self.values.items())


PRESETS = (
    Preset("Photograph", "Noise of a camera, found out by itself.", {"noise": "auto"}),
    Preset("Very quick look", "A first impression in a tenth of the time.", {"effort": "fast"}),
    Preset(
        "Strong noise",
        "Where little can be made out: more computing, averaged over more fits.",
        {"effort": "best", "noise": "auto"},
    ),
    Preset(
        "Microscopy, photons counted",
        "Noise that grows with the light: change 30 to the photons at white.",
        {"noise": "poisson:30"},
    ),
    Preset(
        "Old photograph, scanned",
        "Grain is softened rather than taken away: a fifth of it stays.",
        {"noise": "auto", "strength": 0.8},
    ),
    Preset(
        "Scratches, dust or text over it",
        "What is painted over is filled in from what is around it.",
        {"task": "inpaint"},
    ),
    Preset(
        "Too small", "Twice as many pixels each way.", {"task": "super-resolve", "scale": 2}
    ),
    Preset("JPEG blocks", "What strong compression took away.", {"task": "dejpeg"}),
    Preset(
        "Out of focus", "A blur of known width is undone: change 1.5 pixels to yours.",
        {"task": "deblur", "kernel": "gaussian:1.5"},
    ),
)  # fmt: skip
BY_TITLE = {preset.title: preset for preset in PRESETS}
