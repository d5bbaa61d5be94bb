"""A job, as HTML: all of what users see of it while it runs and when it has ended."""

from __future__ import annotations

import html
from collections.abc import Sequence

from guided_dip.web.models import ENDED, Curve, JobOutcome, JobState, View
from guided_dip.web.page import charts
from guided_dip.words import duration, one_line

NONE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
_LEGENDS: dict[View, str] = {
    "residual": "Residual: what was taken away, mid-grey where nothing was. Only noise should be "
    "seen here; outlines of the picture would be lost detail.",
    "spread": "Spread: how much the outputs that were averaged differ, white where most. It says "
    "where the restoration is least sure.",
}


def text(value: object) -> str:
    """Make text safe in HTML, in attributes too."""
    return html.escape(one_line(value), quote=True)


def empty() -> str:
    """Return what is shown before there is a job."""
    return (
        '<section class="gd-job gd-none" aria-label="Restoration"><h2>Restoration</h2>'
        '<p class="gd-status" role="status">Nothing yet: give a picture, or take an example, and '
        "press Restore.</p>"
        '<div class="gd-well gd-blank" aria-hidden="true"></div></section>'
    )


def lost() -> str:
    """Return what is shown for a job that is not there (any more)."""
    return (
        '<section class="gd-job gd-none" aria-label="Restoration"><h2>Restoration</h2>'
        '<p class="gd-status" role="status">This run is not here any more: runs are kept for some '
        "days. The History tab has those that are.</p></section>"
    )


def job(state: JobState, curve: Curve) -> str:
    """Return all that there is to see of a job.

    Parameters
    ----------
    state
        The job.
    curve
        How its fit went so far.
    """
    parts = [
        f"<h2>{text(state.name)}</h2>",
        f'<p class="gd-status gd-{state.status}" role="status">{_status(state)}</p>',
    ]
    if state.status not in ENDED:
        parts += [_progress(state), _preview(state)]
    if state.outcome is not None:
        parts += [_result(state, state.outcome)]
    if state.status in ("running", "stopping", "done"):
        parts.append(_curves(state, curve))
    if state.outcome is not None:
        parts += [_maps(state, state.outcome)]
    parts.append(_commands(state))
    return (
        f'<section class="gd-job" aria-label="Restoration" data-job="{state.id}" '
        f'data-status="{state.status}">{"".join(parts)}</section>'
    )


def _status(state: JobState) -> str:
    """Say where a job is; it changes seldom, as it is read out."""
    progress, outcome = state.progress, state.outcome
    if state.status == "queued":
        place = f", place {state.place} in the queue" if state.place else ""
        return f"Waiting for a free worker{place}."
    if state.status == "running":
        if not progress.stages:
            return "Running: the picture is looked at."
        return f"Running: guide {progress.stage} of {progress.stages}."
    if state.status == "stopping":
        return "Stopping: the current estimate becomes the result."
    if state.status == "cancelled":
        return "Cancelled. Nothing of it is kept."
    if state.status == "failed":
        return f"Failed: {text(state.reason)}"
    assert outcome is not None
    how = "Stopped: this is the estimate of that moment" if outcome.is_estimate else "Done"
    return f"{how}, after {duration(outcome.seconds)} of computing."


def _progress(state: JobState) -> str:
    progress = state.progress
    left = (
        ""
        if progress.seconds_left is None
        else f"about {duration(progress.seconds_left, tenths_below=0)} left"
    )
    facts = [
        ("Guide", f"{progress.stage} of {progress.stages}" if progress.stages else NONE),
        ("Step", f"{progress.step} of {progress.steps}" if progress.steps else NONE),
        ("Time left", left.removeprefix("about ").removesuffix(" left") or NONE),
        ("Loss", NONE if progress.loss is None else f"{progress.loss:.2g}"),
    ]
    if progress.psnr is not None:
        facts.append(("PSNR now (oracle)", f"{progress.psnr:.2f} dB"))
    return (
        f'<progress class="gd-bar-done" max="1" value="{progress.share:.4f}" '
        f'aria-label="Share of the work that is done">{progress.share:.0%}</progress>'
        f"{_facts(facts)}"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dt>{head}</dt><dd>{cell}</dd></div>" for head, cell in facts)
    return f'<dl class="gd-facts">{cells}</dl>'


def _url(state: JobState, view: View, version: int | str = "") -> str:
    """Return where a picture of a job is; another version is another address."""
    ending = f"?v={version}" if version != "" else ""
    return f"v1/jobs/{state.id}/views/{view}{ending}"


def _preview(state: JobState) -> str:
    number = state.progress.preview
    size = f'width="{state.width}" height="{state.height}"'
    shape = f'style="aspect-ratio: {state.width} / {state.height}"'
    if not number:
        return (
            f'<figure class="gd-figure"><div class="gd-well gd-wait" {shape}>'
            "<span>The first picture comes after a few steps</span></div>"
            "<figcaption>Current estimate</figcaption></figure>"
        )
    return (
        '<figure class="gd-figure">'
        f'<img class="gd-picture gd-preview" src="{_url(state, "preview", number)}" '
        f'alt="Current estimate of {text(state.name)}" {size} {shape} data-preview="{number}">'
        "<figcaption>Current estimate: it changes until the end</figcaption></figure>"
    )


def _result(state: JobState, outcome: JobOutcome) -> str:
    return (
        f"{_slider(state, outcome)}{_about(outcome)}{_downloads(state, outcome)}"
        f"{_detail(state, outcome)}"
    )


def _slider(state: JobState, outcome: JobOutcome) -> str:
    shape = f"aspect-ratio: {outcome.width} / {outcome.height}"
    size = f'width="{outcome.width}" height="{outcome.height}"'
    small = outcome.width < 480
    return (
        f'<div class="gd-slider{" gd-pixels" if small else ""}" style="{shape}">'
        f'<img src="{_url(state, "restored")}" alt="Restored: {text(state.name)}" {size}>'
        f'<img class="gd-before" src="{_url(state, "input")}" alt="Before: {text(state.name)}" '
        f"{size}>"
        '<span class="gd-tag gd-left" aria-hidden="true">Before</span>'
        '<span class="gd-tag gd-right" aria-hidden="true">Restored</span>'
        '<span class="gd-handle" aria-hidden="true"></span>'
        '<input class="gd-range" type="range" min="0" max="100" step="1" value="50" '
        'aria-label="How much of the picture is shown as it was before, in percent"></div>'
    )


def _about(outcome: JobOutcome) -> str:
    facts = [("Size", f"{outcome.width} {TIMES} {outcome.height}")]
    if outcome.pages > 1:
        facts.append(("Pages", str(outcome.pages)))
    facts += [("Format", f"{text(outcome.format)}, {outcome.bits} bits"),
              ("Time", duration(outcome.seconds))]  # fmt: skip
    if outcome.psnr is not None:
        before = "" if outcome.psnr_before is None else f"{outcome.psnr_before:.2f} → "
        facts.append(("PSNR, final", f"{before}{outcome.psnr:.2f} dB"))
    noise = f'<p class="gd-noise"><b>Noise:</b> {text(outcome.noise)}</p>' if outcome.noise else ""
    note = f'<p class="gd-note">{text(outcome.note)}</p>' if outcome.note else ""
    return f"{_facts(facts)}{noise}{note}"


def _downloads(state: JobState, outcome: JobOutcome) -> str:
    return (
        '<p class="gd-links">'
        f'<a class="gd-button gd-first" href="v1/jobs/{state.id}/result" '
        f'download="{text(state.file_name)}">Download the restoration '
        f"({text(outcome.format)}, {outcome.bits} bits)</a>"
        f'<a class="gd-button" href="v1/jobs/{state.id}/run.zip" download>'
        "Download the run folder (zip)</a></p>"
    )


def _detail(state: JobState, outcome: JobOutcome) -> str:
    """Return the same place of before, after and clean, four times as large."""
    views: list[tuple[View, str]] = [("input", "Before"), ("restored", "Restored")]
    if "clean" in outcome.views:
        views.append(("clean", "Clean"))
    panes = "".join(
        f'<figure><div class="gd-zoom"><img src="{_url(state, view)}" alt="{name}, in detail">'
        "</div>"
        f"<figcaption>{name}</figcaption></figure>"
        for view, name in views
    )
    return (
        f'<div class="gd-detail" style="--w: {outcome.width}; --h: {outcome.height}">'
        f"<h3>Detail, 4{TIMES}</h3>"
        f'<div class="gd-zooms">{panes}</div>'
        '<div class="gd-place"><label>Across <input type="range" class="gd-x" min="0" max="100" '
        'value="50"></label><label>Down <input type="range" class="gd-y" min="0" max="100" '
        'value="50"></label><span class="gd-hint">or press a place in the detail to move there'
        "</span></div></div>"
    )


def _curves(state: JobState, curve: Curve) -> str:
    steps = state.progress.steps if state.outcome is None else 0
    loss = charts.curve(
        curve.step, curve.loss, label="Loss", kind="gd-loss", last=steps, log=True
    )  # fmt: skip
    figures = [
        f"<figure>{loss}<figcaption>Loss at each step; it jumps where the guide "
        "changes</figcaption></figure>"
    ]
    if curve.psnr:
        psnr = charts.curve(curve.step, curve.psnr, label="PSNR in dB", kind="gd-psnr", last=steps)
        figures.append(
            f"<figure>{psnr}<figcaption>PSNR in dB against the clean picture: an oracle's view, "
            "which the restoration never has</figcaption></figure>"
        )
    return f'<div class="gd-curves"><h3>How it went</h3>{"".join(figures)}</div>'


def _maps(state: JobState, outcome: JobOutcome) -> str:
    shown = [view for view in _LEGENDS if view in outcome.views]
    figures = "".join(
        f'<figure><img class="gd-picture" src="{_url(state, view)}" alt="{view.capitalize()} of '
        f'{text(state.name)}" width="{outcome.width}" height="{outcome.height}" loading="lazy">'
        f"<figcaption>{_LEGENDS[view]}</figcaption></figure>"
        for view in shown
    )
    return f'<div class="gd-maps"><h3>What is left over</h3>{figures}</div>' if shown else ""


def _commands(state: JobState) -> str:
    blocks = "".join(
        f'<div class="gd-code"><div><h3>{head}</h3>'
        f'<button type="button" class="gd-copy" aria-label="Copy: {head}">Copy</button></div>'
        f'<pre tabindex="0" role="region" aria-label="{head}">'
        f"<code>{html.escape(code)}</code></pre>"
        "</div>"
        for head, code in (("On the command line", state.command), ("In Python", state.python))
        if code
    )
    return f'<div class="gd-codes">{blocks}</div>' if blocks else ""
