"""Figures: what they show is read off their artists; the same bytes each time; nothing overlaps."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from guided_dip.config import make_config
from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError, RunError
from guided_dip.guidance import make_plan
from guided_dip.images import Picture, read, write
from guided_dip.plots import (
    check_figure_file,
    comparison,
    curves,
    diagnosis,
    forward_strip,
    plan_chart,
    process,
    redraw,
    save,
)
from guided_dip.plots.pictures import _liveliest
from guided_dip.restoration import prepare
from guided_dip.result import Record, Scores
from guided_dip.runs import Source, new_run, summarize

SCHEDULE = make_schedule("cosine", lower_clip=1e-4)
REPORT = make_plan("clean-guides", SCHEDULE, steps=2000, count=20)
RECORRUPTED = make_plan("recorrupted-guides", SCHEDULE, steps=1500, count=5, sigma=25 / 255)
WEAK = make_plan("recorrupted-guides", SCHEDULE, steps=1500, count=5, sigma=1 / 255)
PLAIN = make_plan("observation", SCHEDULE, steps=50, count=1)
CROWDED = make_plan("clean-guides", SCHEDULE, steps=2000, count=100)
PLANS = {
    "report": REPORT,
    "recorrupted": RECORRUPTED,
    "weak": WEAK,
    "plain": PLAIN,
    "crowded": CROWDED,
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def records(plan, *, psnr=True, until=None):
    made = []
    for index, (stage, first) in enumerate(zip(plan, plan.boundaries, strict=True)):
        for step in range(first, first + stage.steps):
            score = 20 + step / 100 if psnr else None
            made.append(Record(step, index, stage.t, 1 / (step + 1), 1e-3, step / 10, score))
    return made[:until]


def picture(shape=(32, 40, 3), seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def drawn_texts(figure):
    """Return what is really drawn as text, with its place in pixels."""
    canvas = FigureCanvasAgg(figure)
    found = []
    draw = Text.draw

    def note(text, renderer):
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_window_extent(renderer)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", note)
        canvas.draw()
    return found


def assert_tidy(figure):
    """No text over another, none over the edge."""
    found = drawn_texts(figure)
    assert found
    for (one, a), (other, b) in itertools.combinations(found, 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), f"{one!r} is over {other!r}"
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in found:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text!r} is over the edge"


def labels(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


# Curves


def test_curves_show_every_record():
    made = records(RECORRUPTED)
    axes, twin = curves(made, RECORRUPTED).axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [record.loss for record in made])
    np.testing.assert_array_equal(twin.lines[0].get_ydata(), [record.psnr for record in made])
    assert axes.get_yscale() == "log"


def test_curves_without_a_clean_image_have_one_axis():
    assert len(curves(records(RECORRUPTED, psnr=False), RECORRUPTED).axes) == 1


def test_curves_mark_the_stages():
    axes = curves(records(RECORRUPTED), RECORRUPTED).axes[0]
    marks = [line.get_xdata()[0] for line in axes.lines[1:]]
    assert marks == list(RECORRUPTED.boundaries[1:])
    (top,) = axes.child_axes
    names = " ".join(label.get_text() for label in top.get_xticklabels())
    assert names == "256 224 193 161 130"


def test_curves_name_the_strength_where_there_is_no_timestep():
    (top,) = curves(records(WEAK), WEAK).axes[0].child_axes
    assert top.get_xticklabels()[0].get_text() == "2.00"


def test_curves_of_a_run_that_was_stopped_mark_what_was_done():
    axes = curves(records(RECORRUPTED, until=600), RECORRUPTED).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == [260, 539]


def test_curves_skip_stages_without_steps():
    plan = make_plan("clean-guides", SCHEDULE, steps=10, count=20)
    assert len(curves(records(plan), plan).axes[0].lines) == len([s for s in plan if s.steps])


def test_curves_of_one_step():
    assert isinstance(curves(records(PLAIN, until=1), PLAIN), Figure)


@every_plan
def test_curves_are_tidy(plan):
    assert_tidy(curves(records(plan), plan, title="photo.png (some, thing)"))


# Plan


@every_plan
def test_the_plan_chart_is_tidy(plan):
    assert_tidy(plan_chart(plan, SCHEDULE))


def test_the_plan_chart_shows_the_plan():
    (axes,) = plan_chart(RECORRUPTED, SCHEDULE).axes
    assert [bar.get_height() for bar in axes.patches] == [260, 279, 299, 320, 342]
    assert labels(axes.figure)[:5] == ["260", "279", "299", "320", "342"]
    first = axes.get_xticklabels()[0].get_text().split("\n")
    assert first == ["256", f"{SCHEDULE.beta[256] * 1e3:.2f}", "55.9", "2.00"]


# Pictures


def images(figure):
    return [axes.images[0] for axes in figure.axes]


def test_the_process_shows_steps_and_scores():
    figure = process([(9, picture(), 20.5), (19, picture(seed=1), None)])
    assert labels(figure) == ["step 9\n20.50 dB", "step 19"]


def test_pictures_are_clipped_not_rescaled():
    (shown,) = images(process([(0, picture() * 3 - 1, None)]))
    np.testing.assert_array_equal(shown.get_array(), np.clip(picture() * 3 - 1, 0, 1))


def test_gray_is_shown_gray():
    (shown,) = images(process([(0, picture((32, 40)) * 0.5, None)]))
    assert shown.cmap.name == "gray"
    assert shown.get_clim() == (0, 1)


@pytest.mark.parametrize("shape", [(32, 40, 3), (300, 20), (10, 400, 3), (1, 1), (7, 5, 3)])
def test_picture_figures_are_tidy_and_keep_proportions(shape):
    title = "a photograph with quite a long name.png (recorrupted-guides, skip)"
    shots = [(step, picture(shape), 31.25) for step in range(187, 1500, 187)]
    scores = Scores(20.17, 0.412)
    figures = [
        process(shots, title=title),
        comparison(
            picture(shape), picture(shape), picture(shape), scores_before=scores, scores=scores
        ),
        comparison(picture(shape), picture(shape), title=title),
        forward_strip(picture(shape), [(t, t / 999, picture(shape)) for t in range(40, 500, 23)]),
    ]
    for figure in figures:
        assert_tidy(figure)
        for axes in figure.axes:
            box = axes.get_window_extent()
            assert box.width / box.height == pytest.approx(shape[1] / shape[0], rel=1e-6)


def test_the_comparison_shows_the_same_detail_of_each():
    before, after, clean = (picture((64, 64, 3), seed) for seed in range(3))
    figure = comparison(before, after, clean, scores=Scores(30, 0.9))
    top, left, height, width = _liveliest(after)
    assert labels(figure) == ["input", "restored\nPSNR 30.00 dB, SSIM 0.900", "clean"]
    for whole, shown in zip((before, after, clean), images(figure)[3:], strict=True):
        part = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(shown.get_array(), part)


def test_the_detail_is_where_most_happens():
    flat = np.zeros((128, 128), np.float32)
    flat[80:100, 20:40] = picture((20, 20))
    top, left, height, width = _liveliest(flat)
    assert (height, width) == (32, 32)
    assert top <= 80
    assert top + height >= 100
    assert left <= 20
    assert left + width >= 40


def test_the_forward_strip_begins_with_the_image():
    figure = forward_strip(picture(), [(40, 10 / 255, picture(seed=1))])
    assert labels(figure) == ["the image\n", "t = 40\nnoise 10.0/255"]


def test_titles_are_no_formulas():
    title = "price $5 and $6_{x}$ $\\bad.png"
    assert_tidy(process([(0, picture(), None)] * 8, title=title))
    assert_tidy(curves(records(PLAIN), PLAIN, title=title))


# Files


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_figure_is_the_same_bytes(tmp_path, suffix):
    for name in "ab":
        save(plan_chart(RECORRUPTED, SCHEDULE), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_figure_files_are_checked(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"cannot end in '.pngg': did you mean '.png'"):
        check_figure_file(tmp_path / "a.pngg")
    with pytest.raises(InputError, match="there is no folder"):
        check_figure_file(tmp_path / "no" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_figure_file(tmp_path / "folder.png")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match="exists already"):
        check_figure_file(tmp_path / "b.png")
    check_figure_file(tmp_path / "b.png", overwrite=True)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="read-only"):
        check_figure_file(tmp_path / "c.png")


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        save(plan_chart(PLAIN, SCHEDULE), tmp_path / "missing" / "a.png")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(RunError, match="cannot be written"):
        save(plan_chart(PLAIN, SCHEDULE), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with all there is to draw."""
    place = tmp_path_factory.mktemp("plots")
    noisy, clean = (np.uint8(255 * picture(seed=seed)) for seed in (0, 1))
    write(place / "noisy.png", Picture(noisy))
    options = {"width": 4, "scales": 2}
    config = make_config({"steps": 9, "noise": "gaussian:25", "backbone_options": options})
    restoration = prepare(noisy, config, clean=clean)
    result = restoration.run()
    source = Source.of(place / "noisy.png")
    summary = summarize(restoration, result, source, noise_estimated=False)
    with new_run(place / "run") as run:
        for record in result.records:
            run.record(record)
        run.save(restoration, result, summary, Picture(result.image))
    return place / "run"


def test_a_run_is_drawn_from_its_folder_alone(folder):
    drawn = redraw(folder)
    assert {path.name for path in drawn} == {
        "curves.png",
        "process.png",
        "comparison.png",
        "diagnosis.png",
    }
    first = [path.read_bytes() for path in drawn]
    for path in drawn:
        assert min(read(path).pixels.shape[:2]) > 100
        path.unlink()
    assert [path.read_bytes() for path in redraw(folder)] == first


def test_redrawing_needs_no_torch(folder):
    code = "import sys; from pathlib import Path; from guided_dip.plots import redraw; "
    code += f"redraw(Path({str(folder)!r})); assert 'torch' not in sys.modules; "
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_no_run_cannot_be_drawn(tmp_path):
    with pytest.raises(InputError, match="no folder of a finished run"):
        redraw(tmp_path)


def test_the_diagnosis_shows_what_was_taken_away():
    residual = np.zeros((40, 30, 3), np.float32)
    residual[::2] = 0.1
    residual[1::2] = -0.1
    spread = np.full((40, 30, 3), 0.02, np.float32)
    figure = diagnosis(residual, spread, title="a title")
    assert_tidy(figure)
    assert labels(figure) == [
        "residual\nblack to white: \N{PLUS-MINUS SIGN}76.5/255",
        "spread of the final draws\nwhite: 5.1/255",
    ]
    shown, spreads = (image.get_array() for image in images(figure))
    np.testing.assert_allclose(shown[0], 0.5 + 1 / 6, rtol=1e-5)
    np.testing.assert_allclose(shown[1], 0.5 - 1 / 6, rtol=1e-5)
    np.testing.assert_allclose(spreads, 1, rtol=1e-5)
    assert len(images(diagnosis(np.zeros((8, 8), np.float32)))) == 1
