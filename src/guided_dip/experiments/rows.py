"""The report's table: its six rows, its figures, and what each row may be supervised by.

An *arm* is one answer to "where do the guides come from": a supervision and, where its guides go
through a forward process, a noise convention. The report has one arm, guides drawn from the clean
image with an offset. In an arm that sees only the noisy observation, the DIP rows are plain DIP:
their target is the observation itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from guided_dip.diffusion import CONVENTIONS, Convention
from guided_dip.errors import InputError, choices
from guided_dip.guidance import SUPERVISIONS, Supervision

BACKBONE_NAMES = {"unet": "UNet", "segnet": "SegNet"}
SAW_CLEAN = "saw the clean image (oracle)"
SAW_NOISY = "saw only the noisy observation"
DIP_TIMESTEP = 40  # the report's DIP rows are fitted to one draw at this timestep
_THROUGH_FORWARD_PROCESS = ("clean-guides", "observation-guides")


@dataclass(frozen=True)
class Reported:
    """The report's figures of a row: one picture, one run. PSNR in dB, times 0-based steps."""

    final_psnr: float
    best_psnr: float
    best_step: int
    final_loss: float


@dataclass(frozen=True)
class Row:
    """A row of the report's table.

    Attributes
    ----------
    backbone
        ``unet`` or ``segnet``.
    schedule
        Of Guided-DIP; None for DIP, for which the report names none.
    reported
        What the report says of it.
    """

    backbone: str
    schedule: str | None
    reported: Reported

    @property
    def key(self) -> str:
        """Its name in folders and options."""
        return f"{self.backbone}-{self.schedule}" if self.schedule else f"dip-{self.backbone}"

    @property
    def method(self) -> str:
        """As the report calls it."""
        return "Guided-DIP" if self.schedule else "DIP"

    @property
    def title(self) -> str:
        """All that tells it apart from the others."""
        parts = [self.method, BACKBONE_NAMES[self.backbone], self.schedule]
        return ", ".join(part for part in parts if part)

    @property
    def words(self) -> frozenset[str]:
        """Words that select it."""
        return frozenset({*self.key.split("-"), "guided" if self.schedule else "dip"})


ROWS = (
    Row("unet", None, Reported(21.29, 21.48, 1491, 0.0047)),
    Row("segnet", None, Reported(26.06, 26.94, 378, 0.0001)),
    Row("unet", "linear", Reported(19.65, 19.65, 1999, 0.0064)),
    Row("unet", "cosine", Reported(21.35, 23.91, 1857, 0.0022)),
    Row("segnet", "linear", Reported(21.26, 22.62, 1761, 0.0022)),
    Row("segnet", "cosine", Reported(26.96, 26.95, 1981, 0.0010)),
)
REPORTED_STEPS = 2000


@dataclass(frozen=True)
class Arm:
    """Where the guides come from.

    Attributes
    ----------
    supervision
        A row of the supervision table.
    convention
        What the forward process does about images in [0, 1]; None where there is none.
    """

    supervision: Supervision
    convention: Convention | None = None

    @property
    def key(self) -> str:
        """Its name in folders."""
        return f"{self.supervision}-{self.convention}" if self.convention else self.supervision

    @property
    def oracle(self) -> bool:
        """Whether it is allowed to see the clean image."""
        return self.supervision == "clean-guides"

    @property
    def saw(self) -> str:
        """What it was allowed to see."""
        return SAW_CLEAN if self.oracle else SAW_NOISY

    @property
    def title(self) -> str:
        """All that tells it apart from the others."""
        return f"{self.supervision}, {self.convention} noise" if self.convention else self.key

    def home(self, row: Row) -> Arm | None:
        """Return the arm whose run of a row belongs in this one; None if it has no such row."""
        if self.oracle or row.schedule:
            return None if self.supervision == "observation" else self
        return Arm("observation")

    def settings(self, row: Row) -> dict[str, Any]:
        """Return what a row's settings are in this arm, on top of the preset's."""
        settings: dict[str, Any] = {
            "supervision": self.supervision,
            "backbone": row.backbone,
            "schedule": row.schedule or "cosine",
        }
        if self.convention:
            settings["noise_convention"] = self.convention
        if row.schedule is None and self.oracle:
            settings |= {"count": 1, "end": DIP_TIMESTEP}
        return settings


def every_arm() -> tuple[Arm, ...]:
    """Return all arms there are, the report's own first."""
    return make_arms(["clean-guides", *SUPERVISIONS], CONVENTIONS)


def make_arms(supervisions: Sequence[str], conventions: Sequence[str]) -> tuple[Arm, ...]:
    """Cross supervisions with noise conventions, where these apply.

    Parameters
    ----------
    supervisions, conventions
        Their names.

    Raises
    ------
    InputError
        For an unknown name.
    """
    for given, known in ((supervisions, SUPERVISIONS), (conventions, CONVENTIONS)):
        for name in given:
            if name not in known:
                kind = "supervision" if known is SUPERVISIONS else "noise convention"
                raise InputError(f"unknown {kind} '{name}': {choices(name, known)}")
    arms = [
        Arm(cast("Supervision", supervision), cast("Convention | None", convention))
        for supervision in supervisions
        for convention in (conventions if supervision in _THROUGH_FORWARD_PROCESS else [None])
    ]
    return tuple(dict.fromkeys(arms))


def select_rows(selectors: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows that any of the selectors means; all of them if there is none.

    Parameters
    ----------
    selectors
        Words of a row joined by dashes: ``dip-unet`` is one row, ``segnet`` three.

    Raises
    ------
    InputError
        If a selector means no row.

    Examples
    --------
    >>> [row.key for row in select_rows(["dip-unet", "cosine"])]
    ['dip-unet', 'unet-cosine', 'segnet-cosine']
    """
    wanted = [frozenset(selector.split("-")) for selector in selectors]
    for selector, words in zip(selectors, wanted, strict=True):
        if not any(words <= row.words for row in ROWS):
            known = [row.key for row in ROWS]
            raise InputError(f"no row is called '{selector}': {choices(selector, known)}")
    return tuple(row for row in ROWS if not wanted or any(w <= row.words for w in wanted))
