"""The page of an ablation: bases, claims, and a section a factor, drawn from its two tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from guided_dip.experiments import figures as shared
from guided_dip.experiments.ablation import figures
from guided_dip.experiments.ablation.design import BASE, Ablation
from guided_dip.experiments.ablation.figures import Effect
from guided_dip.experiments.ablation.line import Line
from guided_dip.experiments.ablation.questions import Answer, answers
from guided_dip.experiments.ablation.runs import AblationStudy
from guided_dip.experiments.ablation.statistics import Estimate, difference, mean_of
from guided_dip.experiments.ablation.table import Results
from guided_dip.experiments.claims import decimal
from guided_dip.experiments.document import (
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from guided_dip.experiments.place import write_page
from guided_dip.experiments.rows import SAW_CLEAN, SAW_NOISY
from guided_dip.experiments.tables import NONE

NAME = "ablation"  # of the page
COLOURS = 256  # of a figure: many lines, and bands over each other
_UP, _DOWN = "\N{BLACK UP-POINTING TRIANGLE}", "\N{BLACK DOWN-POINTING TRIANGLE}"
_HOW = (
    "A level is compared with its base on the same picture with the same seed. Differences are "
    "averaged over seeds, then over pictures; \N{PLUS-MINUS SIGN} is half of Student's 95% "
    "interval over the pictures' means, which says whether it would hold on other pictures. "
    f"{_UP} and {_DOWN} mark intervals that leave out 0; of a hundred such intervals some five "
    "miss what is true, and there are more here. PSNR is of the restoration, what a user gets; "
    "that of the last step is of one output, where the restoration may be a mean of several. "
    "Best, lost and best at compare with the clean picture at every step: an oracle's figures. "
    "Lost at the end: how far the PSNR's running mean over a hundredth of the run "
    "ends below its highest. Guides alone: PSNR of the mean of a run's guides, weighted by their "
    "precision, without any network: what they tell of the clean picture by themselves. Noise "
    "kept: the part of the observation's noise, or of the last clean guide's, that is in the "
    "restoration."
)
_BANDS = (
    "Bands: the same interval for the curves, after each picture's own mean over the run is taken "
    "out. The first tenth of the run is cut off where it starts lower. Dots: the last step; "
    "diamonds: the restoration, where its PSNR is another."
)


def draw_page(study: AblationStudy, results: Results, folder: Path) -> dict[str, Any]:
    """Draw the page of an ablation into a folder.

    Parameters
    ----------
    study, results
        What it is, and what is known of it.
    folder
        Where the page goes; its figures are written anew.

    Returns
    -------
    dict
        What `results.json` holds, for programs.
    """
    found = as_dict(study.ablation, results)
    write_page(folder, NAME, make_document(study, results), found)
    return found


def make_document(study: AblationStudy, results: Results) -> Document:
    """Compose the page.

    Parameters
    ----------
    study, results
        What it is, and what is known of it.
    """
    ablation = study.ablation
    document = Document(ablation.title)
    document.blocks.extend(_opening(study, results.lines))
    document.blocks.extend(_bases(ablation, results))
    if ablation.claims:
        document.blocks.append(Heading("Claims"))
        document.blocks.append(_claims(answers(ablation, results.lines)))
    for factor in ablation.varied:
        effects = effects_of(factor, ablation, results.lines)
        if effects:
            document.blocks.extend(_factor(factor, ablation, effects, results))
    return document


def effects_of(
    factor: str, ablation: Ablation, lines: Sequence[Line]
) -> dict[str, tuple[Effect, ...]]:
    """Return what the levels of a factor change, by base; none where only the base itself was run.

    Parameters
    ----------
    factor
        Its name.
    ablation
        Whose it is.
    lines
        Of the table.
    """
    found = {}
    for base in ablation.bases:
        own = [line for line in lines if line.base == base]
        as_it_is = _as_it_is(base, lines)
        effects = tuple(
            Effect(
                level,
                of,
                None
                if all(line.settings == "{}" for line in of)
                else difference(of, as_it_is, "psnr"),
                mean_of(of, "trend_drop"),
                mean_of(of, "noise_kept"),
            )
            for level in ablation.varied[factor]
            if (of := tuple(each for each in own if (each.factor, each.level) == (factor, level)))
        )
        if any(effect.change is not None for effect in effects):
            found[base] = effects
    return found


def _opening(study: AblationStudy, lines: Sequence[Line]) -> Iterator[Block]:
    runs = {line.run for line in lines}
    seeds = len({line.seed for line in lines})
    pictures = ", ".join(study.pictures.values())
    preset = study.ablation.preset
    yield Paragraph(
        f"{len(runs)} runs, preset {preset} where a base names no other, on pictures of "
        f"{study.side}x{study.side} pixels ({pictures}), with up to {seeds} seeds. Noisy "
        f"observations have white Gaussian noise of {study.ablation.sigma:g}/255, and the level "
        "is told. Drawn from runs.csv and curves.csv beside this page, which hold a line a run."
    )
    yield Paragraph(_HOW, "How to read it.")


def _bases(ablation: Ablation, results: Results) -> Iterator[Block]:
    yield Heading("The bases, as they are")
    run = {line.base for line in results.lines}
    for base, what in ablation.bases.items():
        if what.title and base in run:
            yield Paragraph(f"{what.title}.", f"{base}:")
    panels: dict[str, dict[str, dict[str, Sequence[Line]]]] = {}
    for saw in (SAW_CLEAN, SAW_NOISY):
        known = {
            base: of
            for base in ablation.bases
            if (of := _as_it_is(base, results.lines)) and of[0].saw == saw
        }
        if not known:
            continue
        yield Table(
            f"Bases that {saw}.",
            ["base", *_HEADS],
            [[base, *_cells(of)] for base, of in known.items()],
        )
        if len(known) > 1:
            yield _pairs(saw, known)
        networks = panels[saw] = {}
        for base, of in known.items():
            networks.setdefault(_network(ablation, base), {})[base] = of
    if panels:
        yield _picture(
            "bases",
            figures.bases_figure("PSNR on the way, each base as it is", panels, results.curves),
            f"How the PSNR goes with each base. {_BANDS}",
        )


def _as_it_is(base: str, lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if (line.base, line.factor) == (base, BASE))


def _network(ablation: Ablation, base: str) -> str:
    """Return the backbone of a base."""
    cell = next(cell for cell in ablation.cells if (cell.base, cell.factor) == (base, BASE))
    return ablation.config(cell).backbone


def _pairs(saw: str, bases: Mapping[str, Sequence[Line]]) -> Table:
    """Return how much each base is above each other, on the same pictures with the same seeds."""
    others = list(bases.values())
    lines = [
        [base, *(NONE if of is other else _change(difference(of, other))[0] for other in others)]
        for base, of in bases.items()
    ]
    heads = ["PSNR of the row above that of", *bases]
    return Table(f"Bases that {saw}, against each other (dB).", heads, lines)


def _factor(
    factor: str, ablation: Ablation, effects: Mapping[str, Sequence[Effect]], results: Results
) -> Iterator[Block]:
    title = ablation.headings.get(factor, factor)
    yield Heading(title)
    lines = [
        [f"{base}: {effect.level}", *_cells(effect.lines), *_change(effect.change)]
        for base, each in effects.items()
        for effect in each
    ]
    heads = ["base: level", *_HEADS, "against the base", "worst, best picture"]
    yield Table(f"{factor}: its levels on each base.", heads, lines)
    yield _picture(
        factor.replace(" ", "-"),
        figures.factor_figure(title, effects, results.curves),
        f"{factor}: above the change of the PSNR against the base with its interval, a dot a "
        "picture (an arrow, where it would hide the others), what is lost at the end, and how much "
        f"noise is kept; below how the PSNR goes. {_BANDS}",
    )


_HEADS = (
    "runs",
    "PSNR",
    "over seeds",
    "last step",
    "best (oracle)",
    "lost since",
    "lost at the end",
    "best at (%)",
    "guides alone",
    "noise kept",
)


def _cells(lines: Sequence[Line]) -> list[str]:
    psnr = mean_of(lines, "psnr")
    best_at, kept = mean_of(lines, "best_at"), mean_of(lines, "noise_kept")
    spread = None if psnr is None or psnr.seeds is None else psnr.seeds
    return [
        str(len(lines)),
        _number(psnr),
        NONE if spread is None else f"\N{PLUS-MINUS SIGN}{spread:.2f}",
        _number(mean_of(lines, "final_psnr")),
        _number(mean_of(lines, "best_psnr")),
        _number(mean_of(lines, "lost")),
        _number(mean_of(lines, "trend_drop")),
        NONE if best_at is None else f"{100 * best_at.mean:.0f}",
        _number(mean_of(lines, "guides_psnr")),
        NONE if kept is None else f"{100 * kept.mean:.0f}%",
    ]


def _number(found: Estimate | None) -> str:
    return NONE if found is None else decimal(found.mean, 2)


def _change(change: Estimate | None) -> list[str]:
    if change is None:
        return [NONE, NONE]
    half = "" if change.half is None else f" \N{PLUS-MINUS SIGN} {change.half:.2f}"
    mark = {1: f" {_UP}", -1: f" {_DOWN}", 0: ""}[change.sign]
    ends = (min(change.by_picture.values()), max(change.by_picture.values()))
    worst, best = (decimal(end, 2, signed=True) for end in ends)
    return [f"{decimal(change.mean, 2, signed=True)}{half}{mark}", f"{worst}, {best}"]


def _claims(found: Sequence[Answer]) -> Table:
    lines = [
        [answer.claim.statement, answer.verdict, "\n".join(part.line for part in answer.parts)]
        for answer in found
    ]
    caption = (
        "A part is true if its whole interval over pictures lies where it is claimed to, false if "
        "all of it lies elsewhere, else open. One false part refutes a claim; an open or missing "
        "one leaves it undecided."
    )
    return Table(caption, ["claim", "verdict", "the numbers"], lines, numeric=False)


def _picture(name: str, figure: Figure, caption: str) -> Picture:
    data = shared.encode(figure, photographic=False, colours=COLOURS)
    return Picture(f"{name}.png", data, caption)


def as_dict(ablation: Ablation, results: Results) -> dict[str, Any]:
    """Return bases, effects and claims as plain lists and numbers."""
    bases = {
        base: None if (found := mean_of(of, "psnr")) is None else asdict(found)
        for base in ablation.bases
        if (of := _as_it_is(base, results.lines))
    }
    factors = {
        factor: {
            base: {e.level: None if e.change is None else asdict(e.change) for e in each}
            for base, each in effects.items()
        }
        for factor in ablation.varied
        if (effects := effects_of(factor, ablation, results.lines))
    }
    claims = [
        {
            "claim": answer.claim.statement,
            "verdict": answer.verdict,
            "numbers": [part.line for part in answer.parts],
        }
        for answer in answers(ablation, results.lines)
    ]
    return {"title": ablation.title, "bases": bases, "factors": factors, "claims": claims}
