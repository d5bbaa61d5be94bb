"""What is seen of a run while it goes on: about the estimate, for little time, at no other cost."""

import io
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from batch_work import TINY
from guided_dip.config import make_config
from guided_dip.errors import RunError
from guided_dip.images import Picture, read, write
from guided_dip.images.display import eight_bits, ends_of, shown
from guided_dip.jobs import preview as previews
from guided_dip.jobs.carry_out import restore_file
from guided_dip.jobs.job import Job
from guided_dip.jobs.watcher import Watcher
from guided_dip.region import parse_region
from guided_dip.restoration import Known, pacing, prepare
from guided_dip.runs.layout import DRAFT, PREVIEW
from test_resume import CASES, SMALL, assert_same, image, restoration

MASK = np.zeros((32, 32), bool)
MASK[8:14, 3:20] = True
TASKS = {
    "inpaint": ({"task": "inpaint"}, Known(mask=MASK)),
    "super-resolve": ({"task": "super-resolve", "enlarge": 2}, Known()),
    "deblur": ({"task": "deblur", "kernel": "gaussian:1", "noise": "gaussian:5"}, Known()),
    "degain": (
        {"task": "degain", "noise": "gaussian:5"},
        Known(gain=np.full((32, 32), 0.8, np.float32)),
    ),
}


def watched(run):
    """Return a run's result, and what was seen of it at each step."""
    seen = []

    def on_step(record):
        seen.append((run.preview(), run.preview_seconds()))

    return run.run(on_step), seen


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_that_is_looked_at_comes_to_the_same_bytes(case):
    result, seen = watched(restoration(case))
    assert_same(result, restoration(case).run())
    assert len(seen) == len(result.records)
    for pixels, seconds in seen:
        assert (pixels.shape, pixels.dtype) == (result.image.shape, result.image.dtype)
        assert (seconds > 0) is bool(case.get("tile"))
    last = seen[-1][0].astype(float)
    off = np.abs(last - result.image).mean()
    assert off < np.abs(seen[0][0].astype(float) - result.image).mean() + 20


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_each_task_is_seen_in_the_size_of_its_result(task):
    settings, known = task
    config = make_config({"steps": 12, "final_draws": 2} | SMALL | settings)
    result, seen = watched(prepare(image(), config, known))
    assert {pixels.shape for pixels, _ in seen} == {result.image.shape}
    assert_same(result, prepare(image(), config, known).run())


def test_what_is_no_picture_is_not_shown(monkeypatch):
    run = restoration()
    assert run.preview() is None
    assert run.preview_seconds() == 0
    nothing = np.full((32, 32, 3), np.nan)
    monkeypatch.setattr("guided_dip.restoration.run.pixels_of", lambda *_: nothing)
    run.begin()
    assert run.preview() is None


def test_the_restorations_that_have_ended_count_beside_the_one_under_way():
    run = restoration({"restarts": 2, "steps": 40})
    seen = {}

    def on_step(record):
        seen[record.step] = run.preview().astype(float)

    run.run(on_step)
    assert np.abs(seen[20] - seen[19]).mean() < 5  # the second fit has just begun


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_the_input_s_share_is_seen(strength):
    _, seen = watched(restoration({"strength": strength}))
    if not strength:
        assert (seen[-1][0] == image()).all()
    else:
        assert (seen[-1][0] != image()).any()


# Ending early


@pytest.mark.parametrize("case", ["recorrupted", "restarts", "squares and tiles", "mean output"])
def test_a_run_that_is_ended_has_its_estimate_as_result(case):
    run = restoration(CASES[case])
    kept = []

    def on_step(record):
        if record.step == 15:
            kept.append(run.estimate())
            run.end_here()

    result = run.run(on_step)
    assert len(result.records) == 16
    assert result.image.tobytes() == kept[0].tobytes()
    assert "ended at step 16 of 34, as was asked" in result.note
    assert result.scores is not None


# From file to file


class Seen(Watcher):
    """Keeps what is shown, and has enough after so many pictures."""

    def __init__(self, folder, enough=None):
        self.folder, self.most, self.shown = folder, enough, []

    def previewed(self):
        places = self.folder.glob(f"**/{DRAFT}/{PREVIEW}")
        self.shown.append(max(places, key=lambda path: path.stat().st_mtime_ns).read_bytes())

    def enough(self):
        return self.most is not None and len(self.shown) >= self.most


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(previews, "SHARE", 1e9)


def carry_out(folder, picture, name="in.png", watcher=None, every=0.0, settings=(), **options):
    source = folder / name
    if not source.exists():
        write(source, picture)
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    watcher = watcher or Seen(folder)
    job = Job(
        source, folder / f"out-{name}", None, run, preview_every=every, figures=False,
        overwrite=True, **options,
    )  # fmt: skip
    restore_file(job, make_config(TINY | dict(settings)), watcher)
    return watcher.shown, (folder / f"out-{name}").read_bytes()


def opened(png):
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_it_is_shown_in_the_draft_as_it_goes_and_gone_in_the_end(tmp_path, always, dtype):
    pixels = image((20, 16, 3)).astype(dtype) * (257 if dtype == np.uint16 else 1)
    alpha = np.full((20, 16), 200, dtype)
    shown, output = carry_out(tmp_path, Picture(pixels, alpha))
    assert len(shown) == 6
    assert len(set(shown)) > 3
    assert {opened(png).shape for png in shown} == {(20, 16, 3)}
    assert {opened(png).dtype for png in shown} == {np.dtype(np.uint8)}
    assert list(tmp_path.rglob(PREVIEW)) == []
    assert carry_out(tmp_path, None, every=None) == ([], output)


def test_the_whole_picture_is_shown_around_a_region_and_upright(tmp_path, always):
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    picture = Picture(image((20, 24, 3)), exif=exif)
    write(tmp_path / "in.jpg", picture)
    upright = read(tmp_path / "in.jpg").pixels
    shown, _ = carry_out(tmp_path, None, "in.jpg", region=parse_region("1,2,10,8"))
    last = opened(shown[-1])
    assert last.shape == upright.shape
    same = (last == upright).all(2)
    assert same[10:].all()
    assert not same[2:10, 1:11].all()


def test_large_pictures_are_shown_small(tmp_path, always, monkeypatch):
    monkeypatch.setattr(previews, "SIDE", 8)
    shown, _ = carry_out(tmp_path, Picture(image((20, 16, 3))))
    assert opened(shown[-1]).shape == (8, 6, 3)


def test_a_run_that_cannot_be_shown_goes_on(tmp_path, always, monkeypatch):
    def full(*_):
        raise RunError("no space")

    monkeypatch.setattr("guided_dip.runs.folder.RunWriter.preview", full)
    shown, output = carry_out(tmp_path, Picture(image((20, 16, 3))))
    assert shown == []
    assert len(output) > 100


def test_who_has_enough_gets_the_estimate(tmp_path, always):
    watcher = Seen(tmp_path, enough=3)
    shown, output = carry_out(tmp_path, Picture(image((20, 16, 3))), watcher=watcher)
    assert len(shown) == 3
    assert output != carry_out(tmp_path, None)[1]


def test_previews_take_a_small_share_of_the_time(monkeypatch):
    now, taken, shown = [100.0], [0.4], []

    def show(pixels, ends, side):
        shown.append(now[0])
        now[0] += taken[0]
        return b""

    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("guided_dip.images.display.shown", show)
    pixels = image((8, 8))
    run = SimpleNamespace(
        job=SimpleNamespace(preview_every=2.0),
        picture=Picture(pixels),
        restoration=SimpleNamespace(
            preview=lambda: pixels, preview_seconds=lambda: 0.0, config=SimpleNamespace(pages=1)
        ),
        restored=Picture,
        writer=SimpleNamespace(preview=lambda png: None),
        watcher=Watcher(),
    )
    looks = previews.Previews(run)
    while now[0] < 200:
        looks.look()
        now[0] += 0.1
    assert shown[0] == pytest.approx(100.5, abs=0.11)  # soon
    assert np.diff(shown) == pytest.approx(8, abs=0.6)  # 0.4 s is a twentieth of that
    shown.clear()
    run.restoration.preview_seconds = lambda: 1.0  # foretold
    looks = previews.Previews(run)
    began = now[0]
    while len(shown) < 1:
        looks.look()
        now[0] += 0.1
    assert shown[0] - began == pytest.approx(20, abs=0.2)


# 8 bits


def test_pictures_are_shown_by_one_mapping():
    dark = (np.arange(64).reshape(8, 8) * 4).astype(np.uint16)
    ends = ends_of(dark)
    assert ends is not None
    assert eight_bits(dark, ends).max() == 255
    assert ends_of(image()) is None
    assert ends_of(np.full((4, 4), 0.5)) is None
    floats = np.array([[0.0, 1.0], [np.nan, np.inf]], np.float32)
    assert eight_bits(floats).tolist() == [[0, 255], [0, 255]]
    assert opened(shown(floats[..., None])).shape == (2, 2)


def test_a_picture_is_never_made_larger():
    assert opened(shown(image(), side=100)).shape == (32, 32, 3)
