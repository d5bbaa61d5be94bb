"""The numbers of a benchmark: means over pictures, and their spread over seeds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from guided_dip.experiments.benchmark_records import Score
from guided_dip.experiments.benchmark_study import Benchmark
from guided_dip.experiments.methods import METHODS, Method
from guided_dip.experiments.scores import Mean
from guided_dip.runs import plain


@dataclass(frozen=True)
class MethodScores:
    """The records of one method.

    Attributes
    ----------
    method
        Which.
    scores
        Its records.
    """

    method: Method
    scores: tuple[Score, ...]

    @cached_property
    def by_seed(self) -> dict[int, list[Score]]:
        """Records of each seed that has as many pictures as any; a mean needs all of them."""
        found: dict[int, list[Score]] = defaultdict(list)
        for score in self.scores:
            found[score.seed].append(score)
        most = max(map(len, found.values()))
        return {seed: of_seed for seed, of_seed in found.items() if len(of_seed) == most}

    @property
    def images(self) -> int:
        """Number of pictures that its means are over."""
        return len(next(iter(self.by_seed.values())))

    def mean(self, what: str) -> Mean | None:
        """Mean over pictures of a record's number, and its spread over seeds.

        Parameters
        ----------
        what
            Name of the number; None if a record does not have it.
        """
        rows = [[getattr(score, what) for score in of_seed] for of_seed in self.by_seed.values()]
        if any(value is None for row in rows for value in row):
            return None
        return _mean([statistics.fmean(row) for row in rows])

    def image(self, name: str) -> Mean | None:
        """PSNR of one picture, mean and spread over seeds, in dB."""
        values = [score.psnr for score in self.scores if score.image == name]
        return _mean(values) if values else None


def _mean(values: Sequence[float]) -> Mean:
    spread = None
    if len(values) > 1:
        spread = float(np.std(values, ddof=1)) if np.isfinite(values).all() else None
    return Mean(statistics.fmean(values), spread, len(values))


def by_method(scores: Iterable[Score]) -> tuple[MethodScores, ...]:
    """Gather records by method, in the order of the table of methods.

    Parameters
    ----------
    scores
        In any order.
    """
    found: dict[str, list[Score]] = defaultdict(list)
    for score in sorted(scores, key=lambda score: (score.image, score.seed)):
        found[score.method].append(score)
    return tuple(
        MethodScores(method, tuple(found[name]))
        for name, method in METHODS.items()
        if name in found
    )


def as_dict(benchmark: Benchmark, methods: Sequence[MethodScores]) -> dict[str, Any]:
    """Return the means and records of a benchmark for programs: a mean is [value, spread].

    Parameters
    ----------
    benchmark
        What its runs share.
    methods
        Their records.
    """
    listed = [
        {
            "method": method.method.name,
            "title": method.method.title,
            "saw": method.method.saw,
            "oracle": method.method.oracle,
            "pictures": method.images,
            "seeds": len(method.by_seed),
        }
        | {
            what: None if (mean := method.mean(what)) is None else [mean.value, mean.std]
            for what in ("psnr", "ssim", "seconds", "peak_memory")
        }
        for method in methods
    ]
    records = [
        score.model_dump(mode="python", exclude={"benchmark"})
        for method in methods
        for score in method.scores
    ]
    shared = benchmark.model_dump(mode="json")
    found: dict[str, Any] = plain({"benchmark": shared, "methods": listed, "records": records})
    return found
