"""The page of the report's experiment: tables, claims, figures, drawn from saved runs alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from guided_dip import config as configs
from guided_dip.config import Config
from guided_dip.diffusion import make_schedule
from guided_dip.experiments import figures, tables
from guided_dip.experiments.backbone import backbone_figure
from guided_dip.experiments.claims import judge, judge_report
from guided_dip.experiments.diagrams import Example, algorithms, flow
from guided_dip.experiments.document import (
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
)
from guided_dip.experiments.place import write_page
from guided_dip.experiments.report import SavedArm, SavedRow, Study, load_arms, load_study
from guided_dip.experiments.rows import BACKBONE_NAMES, ROWS, SAW_CLEAN, SAW_NOISY, Arm, Row
from guided_dip.guidance import make_plan
from guided_dip.runs import plain

NAME = "report"  # of the page

_SEEDS = (
    "Numbers are the mean over seeds \N{PLUS-MINUS SIGN} the sample standard deviation; a row with "
    "one seed has none. Figures show the first seed."
)
_DIP = {
    True: "The DIP rows are fitted to one draw of the image at t = 40 under the cosine schedule, "
    "the least noisy of Guided-DIP's guides; the report names no schedule for them.",
    False: "The DIP rows are plain DIP: their target is the observation itself.",
}


@dataclass(frozen=True)
class Page:
    """A drawn page: its document, and its numbers for programs."""

    document: Document
    results: dict[str, Any]


def draw_page(folder: Path, *, pictures: bool = True) -> dict[str, Any]:
    """Draw the page of a study into its folder, from what is finished.

    Parameters
    ----------
    folder
        Of the study.
    pictures
        Whether the picture and its restorations appear; else only numbers, curves and diagrams.

    Returns
    -------
    dict
        What `results.json` holds: the tables and claims, for programs.
    """
    page = make_page(load_study(folder), load_arms(folder), pictures=pictures)
    write_page(folder, NAME, page.document, page.results)
    return page.results


def make_page(study: Study, arms: tuple[SavedArm, ...], *, pictures: bool = True) -> Page:
    """Compose the page of a study.

    Parameters
    ----------
    study
        What its runs share.
    arms
        Its finished runs, at least one.
    pictures
        Whether the picture and its restorations appear.
    """
    document = Document(f"The report\N{RIGHT SINGLE QUOTATION MARK}s experiment on {study.picture}")
    document.blocks.extend(_opening(study, arms))
    results: dict[str, Any] = {"study": study.model_dump(mode="json"), "arms": []}
    for oracle, saw in ((True, SAW_CLEAN), (False, SAW_NOISY)):
        of_kind = [arm for arm in arms if arm.arm.oracle is oracle]
        if of_kind:
            document.blocks.append(Heading(f"Results that {saw}"))
            document.blocks.extend(tables.overview([arm.numbers for arm in of_kind]))
        for arm in of_kind:
            document.blocks.extend(_arm(arm))
            document.blocks.extend(_arm_figures(arm, pictures=pictures))
            results["arms"].append(_as_dict(arm))
    document.blocks.extend(_method(study, arms[0], pictures=pictures))
    return Page(document, results)


def _opening(study: Study, arms: tuple[SavedArm, ...]) -> Iterator[Block]:
    first = arms[0].rows[0].runs[0]
    width, height = first.summary.size
    told = {"steps", "device", "threads"}  # elsewhere, or no part of what the study is
    changed = ", ".join(
        f"{key}={value}" for key, value in study.settings.items() if key not in told
    )
    yield Paragraph(
        f"{study.picture}, {width}x{height} pixels, preset {study.preset}"
        f"{' with ' * bool(changed)}{changed}, {first.summary.steps} "
        f"steps. {_SEEDS} Drawn from the saved records of the runs."
    )
    yield Paragraph(
        "Best PSNR and best time are an oracle's figures: it takes the clean image to see them. "
        "The report's figures are one run each on its own picture; on another picture only the "
        "order of the rows can be compared with it.",
        "How to read it.",
    )
    if any(not arm.arm.oracle for arm in arms):
        yield Paragraph(
            f"The noisy observation is the picture plus white Gaussian noise of standard deviation "
            f"{study.sigma * 255:g}/255; it is scored against the clean picture."
        )


def _arm(arm: SavedArm) -> Iterator[Block]:
    numbers = arm.numbers
    yield Heading(arm.arm.title, 3)
    yield Paragraph(_DIP[arm.arm.oracle], f"Every row {arm.arm.saw}.")
    yield tables.results(numbers)
    yield tables.distances(numbers)
    yield tables.colours(numbers)
    yield tables.claims(judge(numbers), judge_report() if arm.arm.oracle else ())


def _arm_figures(arm: SavedArm, *, pictures: bool) -> Iterator[Block]:
    if pictures:
        yield _picture(
            f"{arm.arm.key}-restorations",
            _gallery(arm),
            f"All restorations beside the original: {arm.arm.title}, {arm.arm.saw}.",
            photographic=True,
        )
    for row in arm.rows:
        run, title = row.runs[0], f"{row.row.title}: {arm.arm.saw}"
        name = f"{arm.arm.key}-{row.row.key}"
        caption = (
            f"{row.row.title}: PSNR and loss of every step, a line where a stage begins. Dashed: "
            "the PSNR of each guide's expectation, where a network ends that fits it and leaves "
            "out its noise."
        )
        if run.records:
            yield _picture(f"{name}-curves", figures.curves(run, title=title), caption)
        if pictures and run.summary.snapshots:
            yield _picture(
                f"{name}-process",
                figures.process(run, title=title),
                f"{row.row.title}: the restoration on its way.",
                photographic=True,
            )


def _gallery(arm: SavedArm) -> Figure:
    first = arm.rows[0].runs[0]
    shown = [] if first.clean is None else [("original\n", first.clean)]
    if not arm.arm.oracle:
        before = first.summary.scores_before
        score = "" if before is None else f"{before.psnr:.2f} dB"
        shown.append((f"observation\n{score}", first.input))
    shown += [(_label(row), row.runs[0].restored) for row in arm.rows]
    return figures.gallery(shown, title=f"Restorations, {arm.arm.title}: {arm.arm.saw}")


def _label(row: SavedRow) -> str:
    scores = row.runs[0].summary.scores
    return f"{row.row.title}\n{'' if scores is None else f'{scores.psnr:.2f} dB'}"


def _method(study: Study, arm: SavedArm, *, pictures: bool) -> Iterator[Block]:
    """Draw what does not depend on the results: forward process, algorithms, networks, settings."""
    yield Heading("The method")
    clean = arm.rows[0].runs[0].clean
    guided = _example(study, arm, guided=True)
    yield _picture(
        "algorithms",
        algorithms(_example(study, arm, guided=False), guided),
        "DIP and Guided-DIP, with this study's values; what Guided-DIP adds is in red.",
    )
    picture = "clean image x_0" if arm.arm.oracle else "observation y"
    yield _picture("flow", flow(guided, picture=picture), "The flow of Guided-DIP.")
    if pictures and clean is not None:
        for name in dict.fromkeys(filter(None, (row.schedule for row in ROWS))):
            strip = figures.forward_strip(clean, guided.config, name)
            caption = f"The forward process, {name} schedule."
            yield _picture(f"forward-{name}", strip, caption, photographic=True)
    options = study.settings.get("backbone_options")
    for name in dict.fromkeys(row.row.backbone for row in arm.rows):
        channels = arm.rows[0].runs[0].summary.channels
        diagram = backbone_figure(name, channels=channels, options=options)
        caption = (
            f"{BACKBONE_NAMES[name]}, from the module: over each block its channels, under it its "
            "layers and the side of its output in pixels."
        )
        yield _picture(f"backbone-{name}", diagram, caption)
    yield Heading("Settings")
    yield tables.settings(guided.config)


def _example(study: Study, arm: SavedArm, *, guided: bool) -> Example:
    """Return a config and plan of DIP or Guided-DIP: a finished run's, else what one would have."""
    for saved in reversed(arm.rows):
        if bool(saved.row.schedule) is guided:
            return Example(saved.runs[0].config, saved.runs[0].summary.plan)
    row = next(row for row in reversed(ROWS) if bool(row.schedule) is guided)
    return _planned(study, arm.arm.home(row) or Arm("observation-guides", "offset"), row)


def _planned(study: Study, arm: Arm, row: Row) -> Example:
    settings = study.settings | arm.settings(row)
    made = configs.make_config(settings, preset=study.preset)
    c: Config = configs.fill_in(made, size=(study.side, study.side))
    assert c.a_end is not None, "fill_in() fills in what is open"
    plan = make_plan(
        c.supervision,
        make_schedule(c.schedule, lower_clip=c.lower_clip),
        steps=c.steps or 0,
        count=c.count,
        start=c.start,
        end=c.end,
        scale=c.scale,
        sigma=study.sigma,
        a_start=c.a_start,
        a_end=c.a_end,
    )
    return Example(c, plan)


def _picture(name: str, figure: Figure, caption: str, *, photographic: bool = False) -> Picture:
    data = figures.encode(figure, photographic=photographic)
    return Picture(f"{name}.{'jpg' if photographic else 'png'}", data, caption)


def _as_dict(arm: SavedArm) -> dict[str, Any]:
    numbers = arm.numbers
    rows = [
        {"row": row.row.key, "reported": asdict(row.row.reported) if arm.arm.oracle else None}
        | {"runs": [asdict(run) for run in row.runs]}
        for row in numbers.rows
    ]
    claims = [
        {"claim": claim.letter, "verdict": claim.verdict, "numbers": list(claim.lines)}
        for claim in judge(numbers)
    ]
    found: dict[str, Any] = plain(
        {"arm": arm.arm.key, "saw": arm.arm.saw, "rows": rows, "claims": claims}
    )
    return found
