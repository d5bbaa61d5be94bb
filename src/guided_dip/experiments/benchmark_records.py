"""The one line that each run of a benchmark leaves, and the files that hold them.

A record (`Score`) has all that a table needs and a digest of all that determines it. Records are
small enough to be committed, or brought from another machine: a run that is among them is not
computed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from guided_dip.errors import InputError
from guided_dip.experiments.benchmark_study import Benchmark
from guided_dip.files import write_whole
from guided_dip.runs import plain
from guided_dip.words import one_line

RECORDS = "records.jsonl"


class Score(BaseModel):
    """One run's record.

    Attributes
    ----------
    benchmark
        What it shares with the others.
    image, method, seed
        Which run it is; the seed is the noise's and the method's.
    oracle
        Whether the method saw the clean image.
    psnr, ssim
        Against the clean image after clipping to [0, 1], PSNR in dB; no SSIM of a best step.
    psnr_noisy
        Of the noisy picture, in dB.
    told
        Noise that the method was told.
    steps
        Steps that were taken; None for a function.
    seconds
        Time of the restoration.
    peak_memory
        Most memory in use meanwhile, in MiB; None where it was not counted.
    device
        Where it was computed.
    digest
        Of all that determines it.
    versions
        Of Python and packages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: Benchmark
    image: str
    method: str
    seed: int
    oracle: bool
    psnr: float
    ssim: float | None
    psnr_noisy: float
    told: str
    steps: int | None
    seconds: float
    peak_memory: int | None = None
    device: str
    digest: str
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What a newer record replaces."""
        shared = json.dumps(self.benchmark.model_dump(mode="json"), sort_keys=True)
        return shared, self.image, self.method, self.seed


class Store:
    """The records of a benchmark in its own folder, and in a file that others may share.

    Parameters
    ----------
    folder
        Of the benchmark.
    benchmark
        Which it is.
    file
        Where all records go as well, and finished ones are looked for; None for no such file.
    """

    def __init__(self, folder: Path, benchmark: Benchmark, file: Path | None = None) -> None:
        self._own, self._file, self._benchmark = folder / RECORDS, file, benchmark
        known = [*read_records(self._own), *(read_records(file) if file else ())]
        self._known = {score.digest: score for score in known if score.benchmark == benchmark}

    def find(self, digests: Sequence[str]) -> list[Score]:
        """Return the records of these digests; none if one of them is missing."""
        found = [self._known[digest] for digest in digests if digest in self._known]
        return found if len(found) == len(digests) else []

    def add(self, scores: Iterable[Score]) -> None:
        """Keep records, in place of older ones of the same runs."""
        fresh = {score.key: score for score in scores}
        for path in (self._own, self._file):
            if path is None:
                continue
            before = {score.key: score for score in read_records(path)}
            if before | fresh != before:
                write_records(path, (before | fresh).values())


def read_records(path: Path) -> tuple[Score, ...]:
    """Read a file of records; there are none in a file that is not there.

    Parameters
    ----------
    path
        One JSON object a line.

    Raises
    ------
    InputError
        If it cannot be read, or a line is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        text = f"{path}: cannot be read ({reason}); try another file"
        raise InputError(one_line(text)) from None
    return tuple(_score(path, number, line) for number, line in enumerate(lines, start=1))


def _score(path: Path, number: int, line: str) -> Score:
    try:
        return Score.model_validate_json(line)
    except ValidationError:
        text = f"{path}: line {number} is no record of a benchmark; try deleting that line"
        raise InputError(one_line(text)) from None


def write_records(path: Path, scores: Iterable[Score]) -> None:
    """Write a file of records, in an order that does not depend on when they were made.

    Parameters
    ----------
    path
        The file.
    scores
        All that is to be in it.
    """
    ordered = sorted(scores, key=lambda score: score.key)
    lines = [json.dumps(plain(score.model_dump(mode="python"))) + "\n" for score in ordered]
    write_whole(path, "".join(lines))
