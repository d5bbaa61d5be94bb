"""The report's experiment as a study: its rows, arms and seeds as runs, and back from the runs.

`Study` says what all runs share and is saved beside them; which rows, arms and seeds there are,
the names of the runs say: ``runs/ARM/ROW/seed-N``. So a study grows call by call, and its page
(`guided_dip.experiments.page`) is drawn from whatever is finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from guided_dip.errors import InputError
from guided_dip.experiments.board import INDEX, Outcome, Progress, locked, read_index
from guided_dip.experiments.pictures import FACE, opened_picture, shipped_picture
from guided_dip.experiments.place import holds, read_back
from guided_dip.experiments.rows import ROWS, Arm, Row, every_arm
from guided_dip.experiments.runner import Input, RunSpec, run_all
from guided_dip.experiments.scores import ArmNumbers, RowNumbers, numbers_of
from guided_dip.files import write_whole
from guided_dip.images import in_units_of_white
from guided_dip.images.resize import resize_square
from guided_dip.noise import add_gaussian_noise
from guided_dip.runs import SavedRun, Source, load_run

STUDY = "study.json"
RUNS = "runs"
SIDE = 128
SIGMA = 25 / 255
NOISE_SEED = 0
_CLEAN, _NOISY = "clean", "noisy"


class Study(BaseModel):
    """What all runs of a study share.

    Attributes
    ----------
    preset
        ``report`` or ``author``.
    settings
        What is changed of it in every run.
    picture
        Name of the picture's file.
    sha256
        Of its bytes.
    sigma
        Noise of the observation, in [0, 1] units, for what may not see the clean image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    settings: dict[str, Any]
    picture: str
    sha256: str
    sigma: float = SIGMA

    @property
    def side(self) -> int:
        """Height and width to which the picture is brought, in pixels."""
        return int(self.settings.get("resize") or SIDE)


@dataclass(frozen=True)
class SavedRow:
    """The finished runs of a row in one arm, by seed."""

    row: Row
    runs: tuple[SavedRun, ...]


@dataclass(frozen=True)
class SavedArm:
    """The rows of an arm that have finished runs, in the report's order."""

    arm: Arm
    rows: tuple[SavedRow, ...]

    @cached_property
    def numbers(self) -> ArmNumbers:
        """What the records say."""
        rows = [RowNumbers(row.row, tuple(map(numbers_of, row.runs))) for row in self.rows]
        return ArmNumbers(self.arm, tuple(rows))


def open_picture(path: Path | None) -> tuple[Source, NDArray[Any]]:
    """Read the picture of a study.

    Parameters
    ----------
    path
        Its file; None for one that comes with scikit-image, a face.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return shipped_picture(FACE) if path is None else opened_picture(path)


def make_inputs(source: Source, pixels: NDArray[Any], study: Study) -> dict[str, Input]:
    """Bring the picture to the report's size, and make the noisy observation of it.

    Parameters
    ----------
    source, pixels
        The picture.
    study
        Whose settings may name another size and whose `sigma` is the noise's.
    """
    clean = resize_square(pixels, study.side)
    whole = in_units_of_white(clean)
    observed = add_gaussian_noise(whole, study.sigma, NOISE_SEED).astype(np.float32)
    return {
        _CLEAN: Input(source, clean, clean),
        _NOISY: Input(source, observed, whole),
    }


def make_specs(
    study: Study, rows: Sequence[Row], arms: Sequence[Arm], seeds: int
) -> tuple[RunSpec, ...]:
    """List the runs of some rows in some arms.

    Parameters
    ----------
    study
        What they share.
    rows, arms
        To be crossed; a row that an arm does not have is left out.
    seeds
        Number of runs of each, with seeds from 0.

    Raises
    ------
    InputError
        If nothing is left.
    """
    homes = [(home, row) for arm in arms for row in rows if (home := arm.home(row))]
    specs = [
        RunSpec(
            f"{RUNS}/{home.key}/{row.key}/seed-{seed}",
            _CLEAN if home.oracle else _NOISY,
            study.settings | home.settings(row) | {"seed": seed, "resize": study.side},
            study.preset,
        )
        for home, row in dict.fromkeys(homes)
        for seed in range(seeds)
    ]
    if not specs:
        raise InputError(
            "the supervision 'observation' is plain DIP's: try --rows dip, or another supervision"
        )
    return tuple(specs)


def reproduce(
    study: Study,
    specs: Sequence[RunSpec],
    inputs: dict[str, Input],
    folder: Path,
    *,
    workers: int | None = None,
    together: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Outcome, ...]:
    """Save the study and carry out those of its runs that are not finished.

    Parameters
    ----------
    study, specs, inputs
        From `make_specs` and `make_inputs`.
    folder
        Where everything goes.
    workers, together, on_progress
        As for `guided_dip.experiments.runner.run_all`.

    Raises
    ------
    InputError
        If another process is computing in the folder.
    """
    folder.mkdir(exist_ok=True)
    with locked(folder):
        if (folder / STUDY).exists() and load_study(folder) != study:
            (folder / INDEX).unlink(missing_ok=True)  # its runs are another study's
        write_whole(folder / STUDY, json.dumps(study.model_dump(mode="json"), indent=2) + "\n")
        return run_all(
            specs,
            folder,
            images=inputs,
            workers=workers,
            together=together,
            on_progress=on_progress,
        )


def check_study_folder(folder: Path, study: Study | None, *, overwrite: bool = False) -> None:
    """Find out whether a study can be carried out, or goes on, in a folder.

    Parameters
    ----------
    folder
        Not there yet, empty, or with a study of the same picture and settings.
    study
        What is to be done; None to draw the page only.
    overwrite
        Allow that the study there is another: its runs are computed again.

    Raises
    ------
    InputError
        If not.
    """
    if study is None:
        load_study(folder)
        return
    if holds(folder, STUDY) and load_study(folder) != study and not overwrite:
        raise InputError(
            f"{folder}: holds a study of another picture, preset or settings; try another folder, "
            "or --overwrite to compute it again"
        )


def load_study(folder: Path) -> Study:
    """Read back what the runs of a study share.

    Parameters
    ----------
    folder
        Of the study.

    Raises
    ------
    InputError
        If it is none.
    """
    return read_back(folder, STUDY, Study, "study")


def load_arms(folder: Path) -> tuple[SavedArm, ...]:
    """Read the finished runs of a study back, by arm and row.

    Parameters
    ----------
    folder
        Of the study.

    Raises
    ------
    InputError
        If a run that the index calls done is damaged, or none is done.
    """
    done = {name for name, entry in read_index(folder).items() if entry.state == "done"}
    found: dict[tuple[Arm, Row], tuple[SavedRun, ...]] = {}
    for arm in every_arm():
        for row in ROWS:
            head = f"{RUNS}/{arm.key}/{row.key}/seed-"
            names = sorted((n for n in done if n.startswith(head)), key=lambda n: (len(n), n))
            runs = tuple(load_run(folder / name) for name in names)
            if runs:
                found[arm, row] = runs
    if not found:
        raise InputError(f"{folder}: no run of this study is finished yet")
    arms = {arm for arm, _ in found}
    plain = Arm("observation")
    if any(not arm.oracle for arm in arms - {plain}):
        arms -= {plain}  # its rows are shown in each of the others that see the observation only
    return tuple(SavedArm(arm, tuple(_rows_of(arm, found))) for arm in every_arm() if arm in arms)


def _rows_of(arm: Arm, found: dict[tuple[Arm, Row], tuple[SavedRun, ...]]) -> Iterator[SavedRow]:
    for row in ROWS:
        home = arm.home(row)
        if home is not None and (home, row) in found:
            yield SavedRow(row, found[home, row])
