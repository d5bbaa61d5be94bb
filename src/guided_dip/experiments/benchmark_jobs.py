"""The runs of a benchmark: every method on the same arrays, and what determines each result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from guided_dip.config import fill_in, make_config
from guided_dip.experiments.benchmark_study import Benchmark
from guided_dip.experiments.dataset import Scene, observe
from guided_dip.experiments.methods import DIP, METHODS, PEAK, Method
from guided_dip.experiments.runner import LATER, Input, RunSpec
from guided_dip.experiments.runner import RESULTS as RUN_RESULTS
from guided_dip.noise import NoiseModel, parse_noise
from guided_dip.sizing import FIRST_ON_SQUARES

# Raised when the same method and settings come to mean other results.
RESULTS = 4
# Settings that came later than the first records, as they are where nothing is said of them.
_LATER: Mapping[str, Any] = {
    **LATER,
    "max_memory": None,
    "tile": None,
    "guide_order": "most-noisy-first",
    "guide_noise": "fresh",
}


@dataclass(frozen=True, eq=False)
class Job:
    """One run that is wanted.

    Attributes
    ----------
    benchmark
        What it shares with the others.
    method, image, seed
        Which.
    observed
        Noisy picture and clean one.
    told
        The noise setting.
    digest
        Of all that determines it.
    spec
        Of its run; None for a function.
    """

    benchmark: Benchmark
    method: Method
    image: str
    seed: int
    observed: Input
    told: str
    digest: str
    spec: RunSpec | None = None

    @property
    def name(self) -> str:
        """Its name in folders."""
        return _name(self.method.name, self.image, self.seed)

    @property
    def noisy(self) -> NDArray[Any]:
        """The noisy picture, (H, W) or (H, W, 3) float32."""
        return self.observed.image

    @property
    def clean(self) -> NDArray[Any]:
        """The clean picture, of the same shape."""
        assert self.observed.clean is not None, "a benchmark's pictures have clean ones"
        return self.observed.clean

    @property
    def input(self) -> Input:
        """What its run works on: for an oracle's guides, the clean picture."""
        return replace(self.observed, image=self.clean) if self.method.oracle else self.observed

    @property
    def noise(self) -> NoiseModel:
        """Noise that it is told."""
        model = parse_noise(self.told)
        assert model is not None, "what is told is a model"
        return model

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the records it leaves: plain DIP's run has its best step, too."""
        return (self.digest, self.peak_digest) if self.method.name == DIP else (self.digest,)

    @property
    def peak_digest(self) -> str:
        """Of the record of a run's best step."""
        return _digest([self.digest, PEAK])


def make_jobs(
    benchmark: Benchmark, methods: Sequence[Method], scenes: Sequence[Scene], seeds: int
) -> tuple[Job, ...]:
    """List the runs of methods on pictures, each method on the same arrays.

    Parameters
    ----------
    benchmark
        What they share.
    methods, scenes
        To be crossed; the best step of plain DIP is read off plain DIP's run.
    seeds
        Repetitions, from 0; of a real pair only methods with a seed of their own are repeated.
    """
    wanted = dict.fromkeys(METHODS[DIP] if method.name == PEAK else method for method in methods)
    jobs = []
    for scene in scenes:
        for seed in range(seeds):
            observed = observe(
                scene, noise=benchmark.model, seed=seed, eight_bit=benchmark.eight_bit
            )
            told = benchmark.noise_told(observed.image)
            jobs += [
                _job(benchmark, method, scene.name, seed, observed, told)
                for method in wanted
                if method.random or seed == 0 or scene.noisy is None
            ]
    return tuple(jobs)


def _job(
    benchmark: Benchmark, method: Method, image: str, seed: int, observed: Input, told: str
) -> Job:
    content: dict[str, Any] = {"method": method.name, "image": image, "told": told}
    content["input"] = observed.digest
    spec = None
    if method.settings is not None:
        spec = _spec(benchmark, method, image, seed, observed, told)
        content |= {"results": [RESULTS, RUN_RESULTS]}
        content |= {"settings": _settings(spec)}
    else:
        content |= {"results": RESULTS, "seed": seed if method.random else None}
    return Job(benchmark, method, image, seed, observed, told, _digest(content), spec)


def _spec(
    benchmark: Benchmark, method: Method, image: str, seed: int, observed: Input, told: str
) -> RunSpec:
    """Return a run with its number of steps and its network filled in, which go by the effort."""
    # What estimates its own noise may find out more than a level: that it is correlated.
    noise = "auto" if benchmark.told == "auto" else told
    settings = {**(method.settings or {}), **benchmark.settings, "noise": noise, "seed": seed}
    height, width = observed.image.shape[:2]
    planned = fill_in(make_config(settings), size=(height, width))
    settings["steps"] = max(1, round((planned.steps or 1) * benchmark.steps_factor))
    settings["backbone_options"] = planned.backbone_options
    key = _key(image, seed, clean=method.oracle)
    return RunSpec(_name(method.name, image, seed), key, settings)


def _settings(spec: RunSpec) -> dict[str, Any]:
    """Return the settings that determine a run's result.

    Those that came later count only where they are set, so that older records are still found.
    """
    settings = spec.config.model_dump(mode="json", exclude={"threads"})
    if settings["patch_guides"] is None:
        settings["patch_guides"] = FIRST_ON_SQUARES
    return {k: v for k, v in settings.items() if k not in _LATER or v != _LATER[k]}


def _name(method: str, image: str, seed: int) -> str:
    return f"{method}/{image}/seed-{seed}"


def _key(image: str, seed: int, *, clean: bool) -> str:
    return f"{image}/{seed}/{'clean' if clean else 'noisy'}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
