"""The runs of an ablation: its pictures, what is computed, and what is finished.

An ablation's folder grows call by call: `AblationStudy` says which pictures there are so far and
what is varied, and the names of the runs which base, level, picture and seed each is:
``runs/BASE/LEVEL/PICTURE/seed-N``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from guided_dip.errors import InputError
from guided_dip.experiments.ablation.design import Ablation, Cell
from guided_dip.experiments.board import Outcome, Progress, locked
from guided_dip.experiments.pictures import (
    SHIPPED,
    largest_square,
    opened_picture,
    shipped_picture,
)
from guided_dip.experiments.place import holds, read_back
from guided_dip.experiments.runner import Input, RunSpec, digest_of, run_all
from guided_dip.files import write_whole
from guided_dip.images import in_units_of_white
from guided_dip.images.resize import resize_square
from guided_dip.noise import add_gaussian_noise
from guided_dip.runs import Source

STUDY = "ablation.json"
RUNS = "runs"
SIDE = 128
NOISE_SEED = 0


class AblationStudy(BaseModel):
    """What an ablation's folder holds.

    Attributes
    ----------
    ablation
        What is varied.
    pictures
        Titles of the pictures by their key.
    sha256
        Of their files' bytes, by key.
    side
        Height and width to which they are brought, in pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ablation: Ablation
    pictures: dict[str, str]
    sha256: dict[str, str]
    side: int = SIDE


@dataclass(frozen=True, eq=False)
class Clean:
    """A clean picture of an ablation.

    Attributes
    ----------
    key
        Its name in folders.
    source
        Where it comes from.
    pixels : (side, side) or (side, side, 3)
        Of its largest square, resized.
    """

    key: str
    source: Source
    pixels: NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where a run belongs.

    Attributes
    ----------
    base, level, picture
        Keys.
    seed
        Of the run.
    """

    base: str
    level: str
    picture: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder in the ablation's."""
        return f"{RUNS}/{self.base}/{self.level}/{self.picture}/seed-{self.seed}"


def study_of(ablation: Ablation, pictures: Sequence[Clean], side: int = SIDE) -> AblationStudy:
    """Say what an ablation with some pictures, of so many pixels a side, holds."""
    return AblationStudy(
        ablation=ablation,
        pictures={picture.key: picture.source.name for picture in pictures},
        sha256={picture.key: picture.source.sha256 for picture in pictures},
        side=side,
    )


def open_pictures(paths: Sequence[Path], side: int = SIDE) -> tuple[Clean, ...]:
    """Read the pictures of an ablation.

    Parameters
    ----------
    paths
        Their files; none: those that come with scikit-image.
    side
        Height and width to which the largest square of each is brought, in pixels.

    Raises
    ------
    InputError
        If one cannot be read, or two have one name.
    """
    opened = (
        [(_key(path.stem), *opened_picture(path)) for path in paths]
        if paths
        else [(key, *shipped_picture(crop)) for key, crop in SHIPPED.items()]
    )
    keys = [key for key, _, _ in opened]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"two pictures are called '{key}': try renaming one")
    return tuple(
        Clean(key, source, resize_square(largest_square(pixels), side))
        for key, source, pixels in opened
    )


def _key(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", stem).strip("-").lower()[:40] or "picture"


def make_inputs(pictures: Sequence[Clean], sigma: float) -> dict[str, Input]:
    """Make what bases are given: the clean pictures, and a noisy observation of each.

    Parameters
    ----------
    pictures
        The clean ones.
    sigma
        Noise level of the observations, of 255.

    Returns
    -------
    dict of Input
        By the picture's key for the clean one, and by that with ``" noisy"`` for the other.
    """
    inputs = {}
    for clean in pictures:
        whole = in_units_of_white(clean.pixels)
        noisy = add_gaussian_noise(whole, sigma / 255, NOISE_SEED).astype(np.float32)
        inputs[clean.key] = Input(clean.source, clean.pixels, clean.pixels)
        inputs[f"{clean.key} noisy"] = Input(clean.source, noisy, whole)
    return inputs


def make_specs(
    ablation: Ablation, cells: Sequence[Cell], pictures: Sequence[str], seeds: int
) -> tuple[RunSpec, ...]:
    """List the runs of some cells.

    Parameters
    ----------
    ablation
        Whose cells.
    cells
        With the same settings once.
    pictures
        Their keys.
    seeds
        Number of runs with each picture, with seeds from 0.
    """
    specs = {}
    for cell in cells:
        config = ablation.config(cell)
        for picture in pictures:
            for seed in range(seeds):
                place = Place(cell.base, cell.key, picture, seed)
                specs[place.name] = RunSpec(
                    place.name,
                    picture if config.oracle else f"{picture} noisy",
                    config.model_dump() | {"seed": seed},
                )
    return tuple(specs.values())


def check_ablation_folder(
    folder: Path, study: AblationStudy, *, overwrite: bool = False
) -> AblationStudy:
    """Find out whether an ablation can be carried out, or goes on, in a folder.

    One that is there may be added to: bases, factors, levels, pictures, claims. What it has already
    run must mean the same, or it would be computed again.

    Parameters
    ----------
    folder
        Not there yet, empty, or with an ablation.
    study
        What is to be done.
    overwrite
        Allow that runs are computed again.

    Returns
    -------
    AblationStudy
        With the pictures that are there already.

    Raises
    ------
    InputError
        If not.
    """
    if not holds(folder, STUDY):
        return study
    there = load_study(folder)
    difference = _difference(there, study)
    if difference and not overwrite:
        raise InputError(
            f"{folder}: holds an ablation with another {difference}; try another folder, or "
            "--overwrite to compute its runs again"
        )
    if difference:
        return study
    return study.model_copy(
        update={
            "pictures": there.pictures | study.pictures,
            "sha256": there.sha256 | study.sha256,
        }
    )


def _difference(there: AblationStudy, study: AblationStudy) -> str:
    """Say in what two ablations differ that changes what was run; nothing if in nothing."""
    if (there.side, there.ablation.sigma) != (study.side, study.ablation.sigma):
        return "size of pictures or noise level"
    for key, digest in there.sha256.items():
        if study.sha256.get(key, digest) != digest:
            return f"picture called '{key}'"
    ours = {(cell.base, cell.key): cell for cell in study.ablation.cells}
    for cell in there.ablation.cells:
        same = ours.get((cell.base, cell.key))
        if same and there.ablation.config(cell) != study.ablation.config(same):
            return f"meaning of '{cell.name}'"
    return ""


def load_study(folder: Path) -> AblationStudy:
    """Read back what an ablation's folder holds.

    Parameters
    ----------
    folder
        Of the ablation.

    Raises
    ------
    InputError
        If it is none.
    """
    return read_back(folder, STUDY, AblationStudy, "ablation")


def run_ablation(
    study: AblationStudy,
    specs: Sequence[RunSpec],
    inputs: Mapping[str, Input],
    folder: Path,
    *,
    known: Mapping[str, str],
    workers: int | None = None,
    together: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Outcome, ...]:
    """Save what an ablation is, and carry out those of its runs that are not known yet.

    Parameters
    ----------
    study, specs, inputs
        What it is, and what is to be run.
    folder
        Where everything goes.
    known
        Digests of the runs, by name, whose results are known, here or from elsewhere.
    workers, together, on_progress
        As for `guided_dip.experiments.runner.run_all`.

    Raises
    ------
    InputError
        If another process is computing in the folder.
    """
    folder.mkdir(exist_ok=True)
    with locked(folder):
        write_whole(folder / STUDY, json.dumps(study.model_dump(mode="json"), indent=1) + "\n")
        return run_all(
            [spec for spec in specs if known.get(spec.name) != digest_of(spec, inputs[spec.image])],
            folder,
            images=inputs,
            workers=workers,
            together=together,
            on_progress=on_progress,
        )
