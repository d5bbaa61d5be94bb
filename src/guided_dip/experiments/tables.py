"""The tables of the report's experiment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guided_dip.config import Config
from guided_dip.experiments.claims import Claim, Get, decimal
from guided_dip.experiments.document import Block, Table
from guided_dip.experiments.rows import ROWS
from guided_dip.experiments.scores import ArmNumbers, Mean, RowNumbers, RunNumbers

NONE = "\N{EN DASH}"


def number(mean: Mean | None, digits: int) -> str:
    """Write a mean and its spread over seeds.

    Examples
    --------
    >>> number(Mean(21.349, None, 1), 2)
    '21.35'
    """
    if mean is None:
        return NONE
    spread = "" if mean.std is None else f" \N{PLUS-MINUS SIGN} {mean.std:.{digits}f}"
    return decimal(mean.value, digits) + spread


def difference(mean: Mean | None, reported: float, digits: int) -> str:
    """Write how far a mean stands above the report's figure, as both are printed."""
    return NONE if mean is None else decimal(mean.value - reported, digits, signed=True)


def results(arm: ArmNumbers) -> Table:
    """Return the report's table; beside its figures where these had seen the same.

    Parameters
    ----------
    arm
        The rows of one arm.
    """
    if not arm.arm.oracle:
        return _honest_results(arm)
    measured = (
        ("Final PSNR", "final_psnr", 2),
        ("Best PSNR (oracle)", "best_psnr", 2),
        ("Best time (oracle)", "best_step", 0),
        ("Final loss", "final_loss", 4),
    )
    heads = ["Row", "Seeds"]
    for name, _, _ in measured:
        heads += [name, "report", "difference"]
    lines = []
    for row in arm.rows:
        line = [row.row.title, str(len(row.runs))]
        for _, what, digits in measured:
            mean, reported = row.mean(what), float(getattr(row.row.reported, what))
            line += [number(mean, digits), f"{reported:.{digits}f}"]
            line += [difference(mean, reported, digits)]
        lines.append(line)
    caption = (
        f"The report's table; every figure {arm.arm.saw}. PSNR in dB, times are 0-based steps."
    )
    return Table(caption, heads, lines)


def _honest_results(arm: ArmNumbers) -> Table:
    columns: tuple[tuple[str, str, int], ...] = (
        ("Restoration PSNR", "restored_psnr", 2),
        ("PSNR of the last step", "final_psnr", 2),
        ("Best PSNR (oracle)", "best_psnr", 2),
        ("Best time (oracle)", "best_step", 0),
        ("Final loss", "final_loss", 4),
        ("PSNR of the observation", "input_psnr", 2),
    )
    caption = (
        f"Every row {arm.arm.saw}; the columns marked as an oracle's compare with the clean image "
        "at each step. The restoration is what a user gets. PSNR in dB, times are 0-based steps."
    )
    lines = [
        [row.row.title, str(len(row.runs)), *(number(row.mean(what), d) for _, what, d in columns)]
        for row in arm.rows
    ]
    return Table(caption, ["Row", "Seeds", *(name for name, _, _ in columns)], lines)


def distances(arm: ArmNumbers) -> Table:
    """Return how far the best step lies from the last, and what ceiling the guides set."""
    columns: tuple[tuple[str, Get, int], ...] = (
        ("Steps from best to last", lambda run: run.steps_past_best, 0),
        ("PSNR lost on the way (dB)", lambda run: run.lost, 2),
        ("the same of the trend (dB)", lambda run: run.trend_drop, 2),
        ("Ceiling of the last guide (dB)", lambda run: run.ceiling, 2),
        ("Final PSNR below it (dB)", _below_ceiling, 2),
        ("PSNR jump at stages", lambda run: run.psnr_jump, 1),
        ("Loss jump at stages", lambda run: run.loss_jump, 1),
    )
    caption = (
        f"From the best step to the last; every row {arm.arm.saw}. The trend is the running "
        "mean over 1% of the steps. The ceiling is the PSNR of the last guide's expectation, set "
        "by the noise convention. A jump is the change where a stage begins, as a multiple of the "
        "usual one."
    )
    return _table(arm, caption, columns)


def colours(arm: ArmNumbers) -> Table:
    """Return the colours of the restorations beside the original's, and the early noise."""
    columns: tuple[tuple[str, Get, int], ...] = (
        ("Brightness", _colour("brightness"), 3),
        ("Saturation", _colour("saturation"), 3),
        ("Green excess", _colour("green"), 4),
        ("Early noise (of 255)", _early_noise, 1),
    )
    table = _table(
        arm,
        f"Means over each restoration, which {arm.arm.saw}, and the estimated noise of the "
        "pictures of the first quarter of the run.",
        columns,
    )
    original = arm.rows[0].runs[0].original
    if original is None:
        return table
    first = f"{original.brightness:.3f}", f"{original.saturation:.3f}", f"{original.green:.4f}"
    return Table(table.caption, table.heads, [["the original", NONE, *first, NONE], *table.lines])


def _table(arm: ArmNumbers, caption: str, columns: tuple[tuple[str, Get, int], ...]) -> Table:
    lines = [
        [row.row.title, str(len(row.runs)), *(number(row.mean(get), d) for _, get, d in columns)]
        for row in arm.rows
    ]
    return Table(caption, ["Row", "Seeds", *(name for name, _, _ in columns)], lines)


def _colour(name: str) -> Get:
    return lambda run: None if run.colours is None else float(getattr(run.colours, name))


def _early_noise(run: RunNumbers) -> float | None:
    return None if run.early_sigma is None else run.early_sigma * 255


def _below_ceiling(run: RunNumbers) -> float | None:
    return None if run.ceiling is None else run.ceiling - run.final_psnr


def claims(judged: Sequence[Claim], by_report: Sequence[Claim]) -> Table:
    """Return the report's claims, what our numbers say and what its own table says of them.

    Parameters
    ----------
    judged
        From our runs.
    by_report
        From the report's figures by the same rules; empty where these cannot be compared.
    """
    theirs = {claim.letter: claim.verdict for claim in by_report}
    heads = ["Claim", "Verdict", "By the report's own figures", "The numbers"]
    lines = [
        [
            f"({claim.letter}) {claim.statement}",
            claim.verdict,
            theirs.get(claim.letter, NONE),
            "\n".join(claim.lines),
        ]
        for claim in judged
    ]
    if not by_report:
        heads = [head for head in heads if "report" not in head]
        lines = [[claim, verdict, words] for claim, verdict, _, words in lines]
    caption = (
        "The report's claims by fixed rules: a comparison counts as true or false where the "
        "difference is larger than the spread over seeds, else it is open; one false comparison "
        "refutes a claim, one open or missing comparison leaves it undecided."
    )
    return Table(caption, heads, lines, numeric=False)


def overview(arms: Sequence[ArmNumbers]) -> Iterator[Block]:
    """Return the final PSNR of all arms that saw the same, side by side; nothing for one arm."""
    if len(arms) < 2:
        return
    heads = ["Row", *(f"{arm.arm.title}: {arm.arm.saw}" for arm in arms)]
    lines = [
        [row.title, *(number(_final(arm[row.key]), 2) for arm in arms)]
        for row in ROWS
        if any(arm[row.key] for arm in arms)
    ]
    yield Table("PSNR of the restoration, in dB.", heads, lines)


def _final(row: RowNumbers | None) -> Mean | None:
    return None if row is None else row.mean("restored_psnr")


def settings(config: Config) -> Table:
    """Return the settings table of a run."""
    lines = [
        [name, str(getattr(config, name)), field.description or ""]
        for name, field in Config.model_fields.items()
    ]
    caption = "Settings of the last row shown above, with everything filled in."
    return Table(caption, ["Setting", "Value", "Meaning"], lines, numeric=False)
