"""The report's experiment end to end: command line, tables, figures, pages."""

import base64
import contextlib
import dataclasses
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guided_dip.cli import run
from guided_dip.diffusion import coefficients, make_schedule
from guided_dip.experiments.backbone import walk
from guided_dip.experiments.document import (
    Document,
    Heading,
    Paragraph,
    Table,
    to_html,
    to_markdown,
)
from guided_dip.experiments.report import load_arms, open_picture
from guided_dip.experiments.scores import ceilings, numbers_of
from guided_dip.images import Picture, write
from guided_dip.metrics import psnr
from guided_dip.runs import load_run

WIDTHS = "backbone_options={widths: [4, 4, 8, 8, 8, 8]}"
TINY = ["--steps", "12", "--set", "count=3", "--set", "resize=32", "--set", WIDTHS]
TINY += ["--device", "cpu", "--workers", "1", "--quiet"]
INTERRUPTED = "guided-dip: interrupted; the same command goes on\n"
NAME = "a<b>&'pic[1]_`x`|.png"  # all that HTML and Markdown take for markup
FIGURES = {
    "algorithms.png",
    "flow.png",
    "backbone-unet.png",
    "backbone-segnet.png",
    "forward-linear.jpg",
    "forward-cosine.jpg",
}
ROW_KEYS = [
    "dip-unet",
    "dip-segnet",
    "unet-linear",
    "unet-cosine",
    "segnet-linear",
    "segnet-cosine",
]


def make_picture(path, side=40):
    ramp = np.linspace(0.1, 0.9, side)
    colours = np.add.outer(ramp, ramp) / 2, np.tile(ramp, (side, 1)), np.full((side, side), 0.5)
    write(path, Picture((np.dstack(colours) * 255).astype(np.uint8)))
    return path


def reproduce(folder, *arguments):
    return run(["reproduce", "-o", str(folder), *TINY, *map(str, arguments)])


def page_bytes(folder):
    paths = [folder / "report.html", folder / "report.md", folder / "results.json"]
    return {p.name: p.read_bytes() for p in [*paths, *sorted((folder / "figures").iterdir())]}


@pytest.fixture(scope="module", autouse=True)
def _coarse():
    """Draw with few pixels, which takes a fraction of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guided_dip.plots.files.DPI", 40)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The report's own arm with two seeds under the author's preset, then two without oracle."""
    home = tmp_path_factory.mktemp("study")
    picture, folder = make_picture(home / NAME), home / "out"
    own = ["--image", picture, "--preset", "author"]
    assert reproduce(folder, *own, "--seeds", "2") == 0
    honest = "observation-guides,recorrupted-guides"
    assert reproduce(folder, *own, "--supervision", honest, "--rows", "unet") == 0
    return folder


@pytest.fixture(scope="module")
def report_arm(study):
    return load_arms(study)[0]


class Reader(HTMLParser):
    """Checks that tags are balanced and gathers what a page refers to."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read_page(folder):
    reader = Reader()
    reader.feed((folder / "report.html").read_text(encoding="utf-8"))
    reader.close()
    assert not reader.open
    return reader


# The table and the records


def test_all_rows_are_there_with_their_seeds(report_arm):
    assert [row.row.key for row in report_arm.rows] == ROW_KEYS
    assert all([run.config.seed for run in row.runs] == [0, 1] for row in report_arm.rows)
    assert report_arm.arm.key == "clean-guides-offset"


def test_numbers_are_those_of_the_metrics_file(study, report_arm):
    lines = (study / "report.md").read_text(encoding="utf-8").splitlines()
    for row in report_arm.rows:
        finals, bests, times, losses = [], [], [], []
        for saved in row.runs:
            records = [
                json.loads(line)
                for line in (saved.folder / "metrics.jsonl").read_text().splitlines()
            ]
            scores = [record["psnr"] for record in records]
            finals.append(scores[-1])
            bests.append(max(scores))
            times.append(scores.index(max(scores)))
            losses.append(records[-1]["loss"])
        (line,) = [
            line
            for line in lines
            if line.startswith(f"| {row.row.title} | 2 | ") and "dB" not in line
        ][:1]
        cells = [cell.strip().replace("\N{MINUS SIGN}", "-") for cell in line.split("|")[3:-1]]
        said = row.row.reported
        expected = []
        for values, reported, digits in (
            (finals, said.final_psnr, 2),
            (bests, said.best_psnr, 2),
            (times, said.best_step, 0),
            (losses, said.final_loss, 4),
        ):
            mean, std = np.mean(values), np.std(values, ddof=1)
            expected += [f"{mean:.{digits}f} \N{PLUS-MINUS SIGN} {std:.{digits}f}"]
            expected += [f"{reported:.{digits}f}", f"{mean - reported:+.{digits}f}"]
        assert cells == expected


def test_distance_from_best_to_final(report_arm):
    for row in report_arm.rows:
        for saved in row.runs:
            numbers, scores = numbers_of(saved), [record.psnr for record in saved.records]
            assert numbers.steps_past_best == len(scores) - 1 - int(np.argmax(scores))
            assert numbers.lost == pytest.approx(max(scores) - scores[-1])
            assert numbers.trend_drop >= 0


def test_dip_rows_have_one_guide_at_t_40(report_arm):
    for row in report_arm.rows:
        stages = [stage.t for stage in row.runs[0].summary.plan]
        assert stages == ([500, 270, 40] if row.row.schedule else [40])


@pytest.mark.parametrize("key", ["unet-linear", "unet-cosine"])
def test_ceilings_match_their_closed_form(report_arm, key):
    (row,) = [row for row in report_arm.rows if row.row.key == key]
    saved = row.runs[0]
    saved = dataclasses.replace(saved, config=saved.config.replace(quantize="none"))
    alpha_bar = make_schedule(key.split("-")[1], lower_clip=1e-4).alpha_bar
    clean = saved.clean.astype(np.float64)
    for stage, ceiling in zip(saved.summary.plan, ceilings(saved), strict=True):
        signal, shift = math.sqrt(alpha_bar[stage.t]), 0.5 * math.sqrt(1 - alpha_bar[stage.t])
        guide = np.clip(signal * clean + shift, 0, 1)
        assert ceiling == pytest.approx(-10 * math.log10(np.mean((guide - clean) ** 2)), abs=1e-4)
    # At the last guide nothing is clipped.
    bias = np.mean(((signal - 1) * clean + shift) ** 2)
    assert ceiling == pytest.approx(-10 * math.log10(bias), abs=1e-4)


def test_pixels_truncated_for_scoring_have_another_ceiling(report_arm):
    saved = report_arm.rows[0].runs[0]
    c = coefficients(make_schedule("cosine", lower_clip=1e-4), 40, "offset")
    guide = np.floor((c.signal * saved.clean + c.shift) * 255).clip(0, 255) / 255
    expected = psnr(guide, saved.clean, data_range=1.0)
    assert ceilings(saved) == [pytest.approx(expected, abs=1e-3)]


def test_unbiased_guides_have_no_ceiling(study, report_arm):
    saved = report_arm.rows[-1].runs[0]
    unbiased = saved.config.replace(noise_convention="unbiased")
    assert set(ceilings(dataclasses.replace(saved, config=unbiased))) == {None}
    (recorrupted,) = [a for a in load_arms(study) if a.arm.supervision == "recorrupted-guides"]
    assert set(ceilings(recorrupted.rows[-1].runs[0])) == {None}


def test_oracle_and_honest_arms_share_no_table(study):
    page = (study / "report.md").read_text(encoding="utf-8")
    clean, noisy = page.split("## Results that saw only the noisy observation")
    assert "saw only the noisy observation" not in clean
    for part in re.split(r"\n\n", noisy.split("## The method")[0]):
        assert not (part.startswith("|") and "saw the clean image" in part)
        assert "21.35" not in part  # the report's own figures have seen the clean image
    arms = [arm.arm.key for arm in load_arms(study)]
    assert arms == [
        "clean-guides-offset",
        "observation-guides-offset",
        "recorrupted-guides",
    ]


def test_plain_dip_is_computed_once_for_all_honest_arms(study):
    assert sorted(path.name for path in (study / "runs").iterdir()) == [
        "clean-guides-offset",
        "observation",
        "observation-guides-offset",
        "recorrupted-guides",
    ]
    saved = load_run(study / "runs/observation/dip-unet/seed-0")
    assert not saved.summary.oracle
    noise = saved.input - saved.clean
    assert 0.07 < noise.std() < 0.11  # 25/255, clipped by the 8 bits that are shown


# The pages


def test_the_html_page_is_well_formed_and_self_contained(study):
    reader = read_page(study)
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert reader.links
    assert all(re.match(r"data:image/(png|jpeg);base64,", link) for link in reader.links)
    text = (study / "report.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert NAME in reader.text
    assert "<b>" not in text
    assert "(g) With cosine" in reader.text


def test_the_page_says_what_differs_from_the_preset(study):
    opening = re.search(r"32x32 pixels, (.*?) steps\.", " ".join(read_page(study).text.split()))
    assert opening[1] == (
        "preset author with count=3, backbone_options={'widths': [4, 4, 8, 8, 8, 8]}, resize=32, 12"
    )


def test_both_pages_show_the_same_figures(study):
    names = re.findall(r"\]\(figures/([^)]*)\)", (study / "report.md").read_text(encoding="utf-8"))
    assert sorted(names) == sorted(path.name for path in (study / "figures").iterdir())
    assert set(names) >= FIGURES
    for key in ROW_KEYS:
        assert f"clean-guides-offset-{key}-curves.png" in names
        assert f"clean-guides-offset-{key}-process.jpg" in names
    assert "clean-guides-offset-restorations.jpg" in names
    inlined = {base64.b64decode(link.split(",")[1]) for link in read_page(study).links}
    assert inlined == {path.read_bytes() for path in (study / "figures").iterdir()}
    for path in (study / "figures").iterdir():
        with Image.open(path) as image:
            assert image.width <= 1360


def test_names_are_escaped_in_markdown(study):
    text = (study / "report.md").read_text(encoding="utf-8")
    assert r"a\<b\>\&'pic\[1\]\_\`x\`\|.png" in text
    assert NAME not in text


def test_redrawing_gives_the_same_bytes_and_runs_nothing(study, capsys):
    before = page_bytes(study)
    runs = {p: p.stat().st_mtime_ns for p in (study / "runs").rglob("*")}
    assert run(["reproduce", "-o", str(study), "--redraw", "--json"]) == 0
    assert page_bytes(study) == before
    assert {p: p.stat().st_mtime_ns for p in (study / "runs").rglob("*")} == runs
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads(before["results.json"])
    first = results["arms"][0]
    assert first["saw"] == "saw the clean image (oracle)"
    assert [row["row"] for row in first["rows"]] == ROW_KEYS
    assert [claim["claim"] for claim in first["claims"]] == list("abcdefg")
    assert results["arms"][-1]["rows"][0]["reported"] is None


def test_without_pictures_only_numbers_curves_and_diagrams_appear(study, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    assert run(["reproduce", "-o", str(copy), "--redraw", "--no-pictures"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"unet-cosine +final PSNR [\d.]+ dB, report 21\.35", said)
    assert "report.html: the page" in said
    names = {path.name for path in (copy / "figures").iterdir()}
    assert not any(name.endswith(".jpg") for name in names)
    assert not any(word in name for name in names for word in ("process", "forward", "restorat"))
    assert "clean-guides-offset-unet-cosine-curves.png" in names
    assert all("png" in link[:20] for link in read_page(copy).links)
    tables = [line for line in (study / "report.md").read_text().splitlines() if line[:1] == "|"]
    copied = [line for line in (copy / "report.md").read_text().splitlines() if line[:1] == "|"]
    assert copied == tables


def test_a_document_in_both_forms():
    document = Document("A & <b>", [Heading("x_0 * y"), Paragraph("text", "so.")])
    document.blocks.append(Table("all", ["a", "b|c"], [["1", "<i>\n2"]]))
    assert "<h1>A &amp; &lt;b&gt;</h1>" in to_html(document)
    assert "<td>&lt;i&gt;<br>2</td>" in to_html(document)
    assert to_markdown(document, "f").split("\n\n") == [
        r"# A \& \<b\>",
        r"## x\_0 \* y",
        "**so.** text",
        "all",
        "| a | b\\|c |\n| --- | ---: |\n| 1 | \\<i\\><br>2 |\n",
    ]


@pytest.mark.parametrize(("columns", "kind"), [(3, "numeric"), (11, "numeric wide")])
def test_tables_of_many_columns_are_set_smaller(columns, kind):
    table = Table("t", ["a"] * columns, [["1"] * columns])
    assert f'<table class="{kind}">' in to_html(Document("t", [table]))


# The diagrams


def test_the_walk_sees_the_backbones_as_they_are():
    from guided_dip import backbones

    unet = walk(backbones.build("unet", 3), 3)
    main = [block for block in unet if not block.side]
    assert [block.channels for block in main] == [8, 16, 32, 64, 128, 256, 128, 64, 32, 16, 8, 3]
    assert [block.size for block in main] == [64, 32, 16, 8, 4, 2, 4, 8, 16, 32, 64, 128]
    assert [block.size for block in unet if block.side] == [16, 8, 4]
    assert [len(block.joined) for block in main] == [0] * 6 + [1] * 3 + [0] * 3
    segnet = walk(backbones.build("segnet", 3), 3)
    assert len(segnet) == 26
    assert [block.resampled for block in segnet].count("pool") == 4  # the fifth is undone at once
    assert [block.resampled for block in segnet].count("unpool") == 4
    assert segnet[-1].after == []


# The command line


def test_a_study_grows_and_finished_runs_are_kept(tmp_path):
    picture = make_picture(tmp_path / "p.png")
    one = ["--image", picture, "--rows", "dip-unet"]
    assert reproduce(tmp_path / "out", *one) == 0
    first = tmp_path / "out/runs/clean-guides-offset/dip-unet/seed-0/summary.json"
    made = first.stat().st_mtime_ns
    assert reproduce(tmp_path / "out", "--image", picture, "--rows", "unet-cosine") == 0
    assert first.stat().st_mtime_ns == made
    (arm,) = load_arms(tmp_path / "out")
    assert [row.row.key for row in arm.rows] == ["dip-unet", "unet-cosine"]


def test_another_study_needs_overwrite_and_leaves_no_old_rows(tmp_path, capsys):
    picture, other = make_picture(tmp_path / "p.png"), make_picture(tmp_path / "q.png", 48)
    out = tmp_path / "out"
    assert reproduce(out, "--image", picture, "--rows", "dip-unet") == 0
    assert reproduce(out, "--image", other, "--rows", "unet-cosine") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert reproduce(out, "--image", other, "--rows", "unet-cosine", "--overwrite") == 0
    (arm,) = load_arms(out)
    assert [row.row.key for row in arm.rows] == ["unet-cosine"]


def test_plain_dip_alone(tmp_path):
    picture = make_picture(tmp_path / "p.png")
    assert (
        reproduce(
            tmp_path / "out",
            "--image",
            picture,
            "--rows",
            "dip-unet",
            "--supervision",
            "observation",
        )
        == 0
    )
    (arm,) = load_arms(tmp_path / "out")
    assert (arm.arm.key, len(arm.rows)) == ("observation", 1)


def test_a_failing_run_is_named_and_the_others_are_shown(tmp_path, capsys):
    picture, out = make_picture(tmp_path / "p.png"), tmp_path / "out"
    rows = ["--image", picture, "--rows", "dip-unet,dip-segnet"]
    # Options that only the UNet has.
    narrow = "backbone_options={widths: [4, 4, 8, 8, 8, 8], skip_levels: [4]}"
    assert reproduce(out, *rows, "--set", narrow) == 1
    message = capsys.readouterr().err.strip()
    assert message.count("\n") == 0
    assert "1 of 2 runs failed: runs/clean-guides-offset/dip-segnet/seed-0" in message
    (arm,) = load_arms(out)
    assert [row.row.key for row in arm.rows] == ["dip-unet"]
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "vnet"], "no row is called 'vnet'"),
        (["--supervision", "clean"], "unknown supervision 'clean'"),
        (["--noise-convention", "ofset"], "did you mean 'offset'"),
        (["--preset", "autor"], "did you mean 'author'"),
        (["--set", "backbone=skip"], "try --rows"),
        (["--set", "seed=3"], "try --seeds"),
        (["--steps", "0"], "steps cannot be 0"),
        (["--rows", "unet-cosine", "--supervision", "observation"], "is plain DIP's"),
        (["--image", "none.png"], "none.png"),
        (["--redraw"], "holds no study"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert run(["reproduce", "-o", str(out), "--quiet", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert said.count("\n") == 0
    assert not out.exists()


def test_folders_that_are_no_place_for_a_study(tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    (tmp_path / "file").touch()
    for name, message in (("full", "other files"), ("file", "no folder"), ("a/b", "creating it")):
        assert run(["reproduce", "-o", str(tmp_path / name), "--quiet", "--rows", "dip-unet"]) == 2
        assert message in capsys.readouterr().err


def test_the_default_picture_is_one_of_scikit_images():
    source, pixels = open_picture(None)
    assert source.name.startswith("astronaut.png")
    assert pixels.shape == (256, 256, 3)


# Killed and started again


def start(folder, *arguments):
    command = [sys.executable, "-m", "guided_dip", "reproduce", "-o", folder, *arguments]
    return subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A shell lets what it runs in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition):
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(FileNotFoundError):  # of a folder that goes while it is looked at
            if condition():
                return
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_study_that_was_stopped_ends_with_the_same_page(tmp_path, how, code):
    picture = make_picture(tmp_path / "p.png")
    workers = "2" if how == signal.SIGINT else "1"
    arguments = ["--image", picture, "--rows", "dip-unet,unet-cosine", *TINY, "--steps", "400"]
    arguments += ["--workers", workers]
    process = start(tmp_path / "stopped", *arguments)
    wait_for(lambda: list((tmp_path / "stopped").glob("runs/**/.partial/metrics.jsonl")))
    os.kill(process.pid, how)
    error = process.communicate(timeout=30)[1].decode()
    assert process.returncode == code
    assert error == (INTERRUPTED if how == signal.SIGINT else "")
    assert not list((tmp_path / "stopped").glob("report.*"))
    here = ["--workers", "1"]
    for name in ("stopped", "whole"):
        assert run(["reproduce", "-o", str(tmp_path / name), *map(str, arguments), *here]) == 0
    assert page_bytes(tmp_path / "stopped") == page_bytes(tmp_path / "whole")


def test_seeds_of_a_row_are_computed_together_where_that_is_asked_for(tmp_path):
    out = tmp_path / "out"
    arguments = ["reproduce", "-o", str(out), "--image", str(make_picture(tmp_path / "p.png"))]
    arguments += ["--rows", "dip-unet,unet-cosine", "--seeds", "3", *TINY]
    assert run([*arguments, "--together", "2"]) == 0
    for row in ("dip-unet", "unet-cosine"):
        runs = [load_run(path) for path in sorted(out.glob(f"runs/*/{row}/seed-*"))]
        assert [each.summary.together for each in runs] == [2, 2, 1]
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/**/summary.json")}
    page = page_bytes(out)
    assert run(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert page_bytes(out) == page


@pytest.mark.parametrize("number", ["0", "65"])
def test_how_many_seeds_go_together_has_limits(tmp_path, number, capsys):
    assert run(["reproduce", "-o", str(tmp_path / "out"), "--together", number]) == 2
    assert "--together" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_progress_is_told_on_a_line_now_and_then(tmp_path, monkeypatch):
    from guided_dip.cli import reproduce as command

    monkeypatch.setattr(command, "EVERY", 0.0)
    picture, told = make_picture(tmp_path / "p.png"), io.StringIO()
    arguments = [word for word in TINY if word != "--quiet"]
    with contextlib.redirect_stderr(told):
        code = run(
            ["reproduce", "-o", str(tmp_path / "out"), "--image", str(picture), "--rows",
             "dip-unet", *arguments]
        )  # fmt: skip
    assert code == 0
    assert "run 0/1 done, step 12/12, " in told.getvalue()
    assert Path(tmp_path / "out/report.md").exists()
