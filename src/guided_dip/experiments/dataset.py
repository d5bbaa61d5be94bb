"""The pictures of a benchmark: clean ones to which noise is added, or real pairs.

Synthetic noise, if Gaussian, is ``y = x_0 + sigma * n`` with ``n`` drawn by a fresh
``numpy.random.default_rng(seed)`` for each picture, on ``x_0`` in float64, unclipped, handed on in
float32. So every method, here or elsewhere, can be given the very same array.

Real pairs are a noisy picture and a reference that was measured with much less noise, in one of two
layouts: subfolders ``raw`` and ``gt`` with equal names, or ``NAME_real.*`` beside ``NAME_mean.*``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError, choices
from guided_dip.experiments.runner import Input
from guided_dip.images import read, to_float
from guided_dip.images.formats import FORMATS
from guided_dip.noise import NoiseModel, add_noise
from guided_dip.runs import Source
from guided_dip.white import extremes_of, find_white
from guided_dip.words import one_line

RAW, CLEAN = "raw", "gt"  # subfolders of real pairs
REAL, MEAN = "_real", "_mean"  # ends of the stems of real pairs
_SUFFIXES = frozenset(suffix for holds in FORMATS.values() for suffix in holds.suffixes)


@dataclass(frozen=True)
class Scene:
    """A picture of a benchmark.

    Attributes
    ----------
    name
        Its file's name without suffix, or what the names of a pair have in common.
    clean
        File of the clean picture; for scoring only.
    noisy
        File of the noisy one; None where noise is added to the clean one.
    """

    name: str
    clean: Path
    noisy: Path | None = None


def find_scenes(folder: Path, *, pairs: bool, names: Sequence[str] = ()) -> tuple[Scene, ...]:
    """List the pictures of a folder, by name.

    Parameters
    ----------
    folder
        Where they are; other files in it are passed over.
    pairs
        Whether it holds real pairs, else clean pictures.
    names
        Those that are wanted; all of them if there is none.

    Raises
    ------
    InputError
        If the folder does not hold what it should, or a name is not there.
    """
    if not folder.is_dir():
        raise InputError(one_line(f"{folder}: there is no such folder; try checking the name"))
    found = _pairs(folder) if pairs else _singles(folder)
    scenes = {name: found[name] for name in sorted(found)}
    for name in names:
        if name not in scenes:
            hint = choices(name, scenes)
            raise InputError(one_line(f"{folder}: no picture is called '{name}': {hint}"))
    return tuple(scene for name, scene in scenes.items() if not names or name in names)


def _singles(folder: Path) -> dict[str, Scene]:
    found = {name: Scene(name, path) for name, path in _by_stem(folder).items()}
    if not found:
        raise InputError(one_line(f"{folder}: holds no pictures; try another folder"))
    return found


def _pairs(folder: Path) -> dict[str, Scene]:
    """Return the real pairs of either layout; half a pair is an error."""
    if (folder / RAW).is_dir() and (folder / CLEAN).is_dir():
        noisy, clean = _by_stem(folder / RAW), _by_stem(folder / CLEAN)
    else:
        stems = _by_stem(folder)
        noisy, clean = (
            {stem.removesuffix(end): path for stem, path in stems.items() if stem.endswith(end)}
            for end in (REAL, MEAN)
        )
    if not noisy or noisy.keys() != clean.keys():
        alone = sorted(noisy.keys() ^ clean.keys())
        problem = f"'{alone[0]}' has no partner" if alone else "holds no pairs"
        raise InputError(
            one_line(
                f"{folder}: {problem}: real pairs are subfolders '{RAW}' and '{CLEAN}' with equal "
                f"names, or files NAME{REAL}.png and NAME{MEAN}.png side by side; for clean "
                "pictures try --noise gaussian:25"
            )
        )
    return {name: Scene(name, clean[name], path) for name, path in noisy.items()}


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _pictures(folder):
        if path.stem in found:
            raise InputError(
                one_line(
                    f"{folder}: two pictures are called '{path.stem}' "
                    f"({found[path.stem].name}, {path.name}); try renaming one"
                )
            )
        found[path.stem] = path
    return found


def _pictures(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not hidden:
            yield path


def observe(scene: Scene, *, noise: NoiseModel | None, seed: int, eight_bit: bool = False) -> Input:
    """Read a picture and make the noisy observation that every method is given.

    Parameters
    ----------
    scene
        The picture.
    noise
        What to add; None for a real pair.
    seed
        Of the noise; of no account for a real pair.
    eight_bit
        Clip the observation to [0, 1] and round it to the 256 levels of 8 bits, as a file has it.

    Returns
    -------
    Input
        Observation and clean picture, both (H, W) or (H, W, 3) float32, 1.0 is white.

    Raises
    ------
    InputError
        If a file cannot be read, or a pair's two pictures are not of one shape.
    """
    original = read(scene.clean).unmultiplied().pixels
    given = None if scene.noisy is None else read(scene.noisy).unmultiplied().pixels
    white = _white_of(original, given)
    clean = _in_full_precision(original, white)
    if scene.noisy is None or given is None:
        assert noise is not None, "noise is added where there is no noisy picture"
        noisy = add_noise(clean, noise, seed)
        if eight_bit:
            noisy = np.rint(np.clip(noisy, 0, 1) * 255) / 255
        return Input(Source.of(scene.clean), noisy.astype(np.float32), clean.astype(np.float32))
    observed = to_float(given, white if given.dtype == original.dtype else None)
    if observed.shape != clean.shape:
        raise InputError(
            one_line(
                f"{scene.noisy}: its shape {observed.shape} is not {clean.shape} as its "
                f"partner's, {scene.clean.name}; try leaving it out with --images"
            )
        )
    return Input(Source.of(scene.noisy), observed, clean.astype(np.float32))


def read_clean(path: Path) -> NDArray[np.float64]:
    """Read a clean picture in full precision.

    Parameters
    ----------
    path
        Its file.

    Returns
    -------
    (H, W) or (H, W, 3) float64
        Its colours without alpha, 1.0 is white.
    """
    pixels: NDArray[Any] = read(path).unmultiplied().pixels
    return _in_full_precision(pixels, _white_of(pixels, None))


def _white_of(clean: NDArray[Any], noisy: NDArray[Any] | None) -> float | None:
    """Return the white of a clean picture, and of a noisy one of its type; None: the type's."""
    extremes = extremes_of(clean)
    if extremes is not None and noisy is not None:
        extremes = extremes.joined(extremes_of(noisy))
    white, _ = find_white("auto", clean.dtype, extremes)
    return None if isinstance(white, str) else white


def _in_full_precision(pixels: NDArray[Any], white: float | None) -> NDArray[np.float64]:
    """Return pixels in which 1.0 is white."""
    usual = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    return pixels.astype(np.float64) / (usual if white is None else white)
