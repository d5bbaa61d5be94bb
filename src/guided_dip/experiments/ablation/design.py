"""An ablation as data: bases, factors, crosses, pictures and seeds, and the runs that follow.

A *base* is a way of restoring, in settings. A *factor* is something about it that may be different,
at some *levels*; a *cross* has several factors differ at once. Each base is run as it is and with
each level of each factor, one factor at a time, on each picture and with each seed. A level that
changes nothing is the base itself, which is run once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from guided_dip import config as configs
from guided_dip.config import Config
from guided_dip.errors import InputError, choices, quoted
from guided_dip.experiments.ablation.line import NUMBERS

SHIPPED = Path(__file__).with_name("report.yaml")
BASE = "base"
_NOT_TO_VARY = ("seed", "threads", "device")  # each run's own, or no part of what it is
_LONGEST = 80  # letters of a folder's name

Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)]
Name = Annotated[str, Field(pattern=r"^[^\n|]+$", max_length=60)]
Settings = dict[str, Any]


class Base(BaseModel):
    """A way of restoring, of which something is changed.

    Attributes
    ----------
    title
        What it is, in a few words.
    preset
        Instead of the ablation's.
    settings
        On top of the ablation's.
    vary
        The factors and crosses that are run on it; None: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    preset: str | None = None
    settings: Settings = {}
    vary: tuple[str, ...] | None = None


class Comparison(BaseModel):
    """A number of some runs, held against other runs' or against a limit.

    Attributes
    ----------
    number
        A column of the table.
    of
        Which runs: ``BASE`` or ``BASE/FACTOR/LEVEL``.
    over
        What it is compared with, on the same picture with the same seed; None: a limit alone.
    more_than, less_than
        What is claimed of the number, or of its difference from the others': one of the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    over: str | None = None
    number: Literal[NUMBERS] = "psnr"  # type: ignore[valid-type]
    more_than: float | None = None
    less_than: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Comparison:
        if (self.more_than is None) == (self.less_than is None):
            raise ValueError("a comparison has either more_than or less_than")
        return self


class Claim(BaseModel):
    """A statement, true if all its comparisons are.

    Attributes
    ----------
    statement
        In words.
    parts
        What it comes down to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    statement: str
    parts: Annotated[tuple[Comparison, ...], Field(min_length=1)]


class Ablation(BaseModel):
    """What is run. The format of the YAML file that `load_ablation` reads.

    Attributes
    ----------
    title
        Of the page.
    preset
        ``report``, ``author`` or an effort.
    settings
        What is changed of it in every run.
    seeds
        Number of runs with each picture, with seeds from 0.
    sigma
        Noise of the observation, of 255, for bases that may not see the clean image.
    bases
        By name.
    factors
        By name: a list of values of the setting of that name, or a mapping from the levels' names
        to settings.
    crosses
        Factors that are varied together, every level of one with every level of the others.
    headings
        What is asked with a factor, for its heading on the page.
    claims
        What is held against the results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    preset: str = "report"
    settings: Settings = {}
    seeds: int = Field(1, ge=1, le=1000)
    sigma: float = Field(25.0, gt=0, allow_inf_nan=False)
    bases: Annotated[dict[Key, Base], Field(min_length=1)]
    factors: Annotated[dict[Name, dict[Name, Settings]], Field(min_length=1)]
    crosses: tuple[tuple[str, ...], ...] = ()
    headings: dict[str, str] = {}
    claims: tuple[Claim, ...] = ()

    @field_validator("factors", mode="before")
    @classmethod
    def _spelled_out(cls, given: Any) -> Any:
        """Turn lists of a setting's values into named levels."""
        if not isinstance(given, Mapping):
            return given
        return {
            name: {_text(value): {name: value} for value in levels}
            if isinstance(levels, list)
            else levels
            for name, levels in given.items()
        }

    @model_validator(mode="after")
    def _check(self) -> Ablation:
        for cross in self.crosses:
            if len(set(cross)) != len(cross) or len(cross) < 2:
                raise ValueError(f"a cross has two factors or more: {list(cross)}")
            for name in cross:
                if name not in self.factors:
                    raise ValueError(f"no factor is called '{name}': {choices(name, self.factors)}")
        for key, base in self.bases.items():
            for name in base.vary or ():
                if name not in self.varied:
                    raise ValueError(
                        f"base '{key}' varies '{name}', which is no factor: "
                        f"{choices(name, self.varied)}"
                    )
        changed = [level for levels in self.factors.values() for level in levels.values()]
        for settings in changed:
            for name in _NOT_TO_VARY:
                if name in settings:
                    raise ValueError(f"'{name}' cannot differ within an ablation")
        for name in self.headings:
            if name not in self.varied:
                raise ValueError(f"a heading of '{name}': {choices(name, self.varied)}")
        for cell in self.cells:
            try:
                self.config(cell)
            except InputError as error:
                raise ValueError(f"{cell.name}: {error}") from None
        known = {cell.reference for cell in self.cells}
        for claim in self.claims:
            for part in claim.parts:
                for reference in filter(None, (part.of, part.over)):
                    if reference not in known:
                        raise ValueError(f"a claim is about '{reference}', which is not run")
        return self

    def with_settings(self, settings: Settings) -> Ablation:
        """Return the same with some settings changed in every run.

        Parameters
        ----------
        settings
            They go before those of bases, but not before those of levels.

        Raises
        ------
        InputError
            If one is not allowed.
        """
        bases = {
            key: base.model_dump() | {"settings": base.settings | settings}
            for key, base in self.bases.items()
        }
        return make_ablation(self.model_dump() | {"bases": bases}, name="--set")

    @cached_property
    def varied(self) -> dict[str, dict[str, Settings]]:
        """All factors, and the crosses as factors of their own."""
        crosses = {
            " x ".join(cross): {
                ", ".join(f"{name}={level}" for name, (level, _) in zip(cross, of, strict=True)): {
                    key: value for _, settings in of for key, value in settings.items()
                }
                for of in product(*(self.factors[name].items() for name in cross))
            }
            for cross in self.crosses
        }
        return self.factors | crosses

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every base and level, the same settings under each factor that has them."""
        return tuple(self._cells())

    def _cells(self) -> Iterator[Cell]:
        for key, base in self.bases.items():
            yield Cell(key, BASE, BASE, {}, {})
            for factor in base.vary if base.vary is not None else self.varied:
                for level, settings in self.varied[factor].items():
                    yield Cell(key, factor, level, settings, self._changes(base, settings))

    def _changes(self, base: Base, settings: Settings) -> Settings:
        """Return what of a level's settings the base does not have already."""
        own = self._config(base, {}).model_dump()
        wanted = self._config(base, settings).model_dump()
        return {key: value for key, value in wanted.items() if value != own[key]}

    def _config(self, base: Base, settings: Mapping[str, Any]) -> Config:
        told = {"noise": f"gaussian:{self.sigma:g}", "check_noise": False, "grain": "white"}
        changed = self.settings | base.settings | dict(settings)
        return configs.make_config(told | changed, preset=base.preset or self.preset)

    def config(self, cell: Cell) -> Config:
        """Return the settings of a cell's runs, all but picture and seed.

        The noise level is told, so that no run depends on how well it is estimated.
        """
        return self._config(self.bases[cell.base], cell.settings)


@dataclass(frozen=True)
class Cell:
    """A level of a factor on a base: what is run with each picture and seed.

    Attributes
    ----------
    base, factor, level
        Names; the base as it is has `BASE` for both of the latter.
    settings
        Of the level.
    changes
        Those of them that the base does not have; none for the base itself.
    """

    base: str
    factor: str
    level: str
    settings: Mapping[str, Any]
    changes: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Name of its runs' folder in its base's: the same for the same settings."""
        if not self.changes:
            return BASE
        key = ",".join(f"{key}={_text(value)}" for key, value in sorted(self.changes.items()))
        safe = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", key)
        if safe == key and len(key) <= _LONGEST:
            return key
        return f"{safe[:_LONGEST]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"

    @property
    def reference(self) -> str:
        """What claims call it."""
        return self.base if self.factor == BASE else f"{self.base}/{self.factor}/{self.level}"

    @property
    def name(self) -> str:
        """For people."""
        return self.base if self.factor == BASE else f"{self.base}, {self.factor} {self.level}"


def _text(value: Any) -> str:
    """Write a setting's value as in YAML, short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "+".join(f"{key}:{_text(each)}" for key, each in sorted(value.items()))
    return str(value)


def load_ablation(path: Path | None = None) -> Ablation:
    """Read an ablation from a YAML file.

    Parameters
    ----------
    path
        The file; None for the one that comes with the project.

    Raises
    ------
    InputError
        If the file cannot be read, or something in it is wrong.
    """
    path = SHIPPED if path is None else path
    given = configs.read_yaml(path, "ablation")
    return make_ablation(given, name=str(path))


def make_ablation(given: Any, *, name: str = "ablation") -> Ablation:
    """Validate an ablation.

    Parameters
    ----------
    given
        As YAML has it.
    name
        Of the file, for messages.

    Raises
    ------
    InputError
        One line: what is wrong, and where.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{name}: is no ablation; one has title, bases and factors")
    try:
        return Ablation.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        where = f"{place} cannot be {quoted(first['input'])}: " if place else ""
        raise InputError(" ".join(f"{name}: {where}{problem}".split())) from None


def select(
    ablation: Ablation, bases: Sequence[str] = (), factors: Sequence[str] = ()
) -> tuple[Cell, ...]:
    """Return the cells of some bases and factors, with the bases as they are.

    Parameters
    ----------
    ablation
        Whose cells.
    bases, factors
        Names; none: all.

    Raises
    ------
    InputError
        For a name that there is not.
    """
    for given, known, kind in (
        (bases, ablation.bases, "base"),
        (factors, ablation.varied, "factor"),
    ):
        for name in given:
            if name not in known:
                raise InputError(f"no {kind} is called '{name}': {choices(name, known)}")
    return tuple(
        cell
        for cell in ablation.cells
        if (not bases or cell.base in bases)
        and (not factors or cell.factor in factors or cell.factor == BASE)
    )
