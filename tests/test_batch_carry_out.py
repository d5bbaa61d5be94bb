"""What a job of a batch does to files, and what it says, whatever goes wrong."""

import errno
import hashlib
import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from batch_work import LONG, Work, cut_at, files_of, orders
from guided_dip.batch import logs
from guided_dip.batch.carry_out import carry_out
from guided_dip.batch.entries import Stamp
from guided_dip.restoration import Restoration
from guided_dip.runs import load_run


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path)
    yield made
    assert logging.getLogger("guided_dip").handlers == []


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(logs, "EVERY", 0.0)


# What comes of a picture


def test_a_picture_that_is_done_is_told_with_all_that_there_is_to_it(work):
    source = work.picture("deep/a.png", (16, 24))
    before = files_of(work.folder / "in")
    end = work.carry_out("deep/a.png")["deep/a.png"]
    output = work.place.output("deep/a.png")
    status = output.stat()
    assert end.kind == "done"
    assert end.share == 1
    assert end.done.content == hashlib.sha256(source.read_bytes()).hexdigest()
    assert end.done.stamp == Stamp(status.st_size, status.st_mtime_ns)
    assert (end.done.width, end.done.height, end.done.channels, end.done.pages) == (24, 16, 3, 1)
    assert end.done.seconds > 0
    assert end.done.noise.startswith("gaussian")
    assert "estimated" not in end.done.noise
    with Image.open(output) as image:
        assert image.size == (24, 16)
    assert work.written() == ["deep/a.png"]
    assert files_of(work.folder / "in") == before
    assert len(work.admitted) == 1
    assert work.admitted[0] > 2**20


def test_noise_that_is_estimated_is_told_as_such(work):
    work.picture("a.png", (32, 32), channels=1)
    done = work.carry_out("a.png", with_=orders(settings={"noise": "auto"}))["a.png"].done
    assert done.noise.endswith("(estimated)")
    assert done.channels == 1


def test_what_is_said_goes_from_the_beginning_to_the_end(work, every_step):
    work.picture("a.png")
    work.carry_out("a.png")
    assert [event.kind for event in work.events] == ["begun", *["step"] * 6, "done"]
    shares = [event.share for event in work.events]
    assert shares == sorted(shares)
    assert shares[1] == 0  # before the first step
    assert 0.5 < shares[-2] < 1


def test_the_log_says_what_is_done_and_keeps_what_was_said_before(work):
    work.picture("a.png")
    work.carry_out("a.png")
    first = work.log("a.png")
    assert "16x16 RGB uint8" in first
    assert "step 1/6, loss" in first
    assert "done in" in first
    work.carry_out(work.item("a.png", ours=True))
    assert work.log("a.png").startswith(first)
    assert work.log("a.png").count("done in") == 2


def test_the_log_has_what_the_library_remarks(work):
    work.picture("a.png")
    work.on_event = lambda event: logging.getLogger("guided_dip.noise").warning("is odd: %d", 7)
    work.carry_out("a.png")
    assert "is odd: 7" in work.log("a.png")


def test_the_same_bytes_come_of_it_alone_and_after_others(work):
    for name in ("a.png", "b.png"):
        work.picture(name)
    work.carry_out("a.png", "b.png")
    assert work.place.output("a.png").read_bytes() == work.place.output("b.png").read_bytes()


@pytest.mark.parametrize("kind", ["a file in its way", "a full disk"])
def test_a_log_that_cannot_be_written_stops_nothing(work, monkeypatch, kind):
    work.picture("deep/a.png")
    if kind == "a file in its way":
        work.place.folder.mkdir()
        (work.place.folder / "logs").write_text("in the way")
    else:
        opens = Path.open

        def fails_later(path, mode="r", **options):
            return opens(Path("/dev/full") if path.suffix == ".log" else path, mode, **options)

        monkeypatch.setattr(Path, "open", fails_later)
    work.carry_out("deep/a.png")
    assert work.kinds() == {"deep/a.png": "done"}


def test_names_of_any_kind_are_restored(work):
    names = ["a b.png", "line\nbreak.png", os.fsdecode(b"\xff.png")]
    for name in names:
        work.picture(name)
    work.carry_out(*names)
    assert work.kinds() == dict.fromkeys(names, "done")
    assert all(work.place.log(name).is_file() for name in names)


def test_a_mask_and_its_inversion_are_followed(work):
    work.picture("a.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 4:8] = 255
    Image.fromarray(mask).save(work.folder / "mask.png")
    Image.fromarray(255 - mask).save(work.folder / "inverted.png")
    settings = {"task": "inpaint", "noise": "none"}
    first = orders(settings=settings, mask=work.folder / "mask.png")
    second = orders(settings=settings, mask=work.folder / "inverted.png", invert_mask=True)
    work.carry_out("a.png", with_=first)
    restored = work.place.output("a.png").read_bytes()
    work.carry_out(work.item("a.png", ours=True), with_=second)
    assert work.kinds() == {"a.png": "done"}
    assert work.place.output("a.png").read_bytes() == restored


# Failures


def test_one_that_is_no_picture_fails_and_the_others_are_done(work):
    for name in ("a.png", "z.png"):
        work.picture(name)
    for name, data in (
        ("empty.png", b""),
        ("torn.png", b"\x89PNG\r\n\x1a\n1234"),
        ("b.tif", b"II"),
    ):
        (work.folder / "in" / name).write_bytes(data)
    before = files_of(work.folder / "in")
    names = ["a.png", "b.tif", "empty.png", "torn.png", "gone.png", "z.png"]
    ends = work.carry_out(*names)
    failed = ["b.tif", "empty.png", "torn.png", "gone.png"]
    expected = {name: "failed" if name in failed else "done" for name in names}
    assert work.kinds() == expected
    for name in failed:
        assert name in ends[name].text
        assert "\n" not in ends[name].text
        assert f"failed: {ends[name].text}" in work.log(name)
        assert "Traceback" not in work.log(name)
    assert work.written() == ["a.png", "z.png"]
    assert files_of(work.folder / "in") == before


def test_one_with_too_many_pixels_fails_unless_they_are_allowed(work):
    work.picture("a.png", (16, 20))
    end = work.carry_out("a.png", with_=orders(max_pixels=300))["a.png"]
    assert end.kind == "failed"
    assert "300" in end.text
    work.carry_out("a.png", with_=orders(max_pixels=320))
    assert work.kinds() == {"a.png": "done"}


def test_a_file_in_the_output_s_place_stays_unless_it_is_ours(work):
    work.picture("a.png")
    output = work.place.output("a.png")
    output.write_bytes(b"precious")
    before = files_of(work.place.outdir)
    end = work.carry_out("a.png")["a.png"]
    assert (end.kind, "exists already; try another OUTDIR" in end.text) == ("failed", True)
    assert files_of(work.place.outdir)[Path("a.png")] == before[Path("a.png")]
    work.carry_out(work.item("a.png", ours=True))
    assert work.kinds() == {"a.png": "done"}
    assert output.read_bytes() != b"precious"


def test_a_folder_in_the_output_s_place_is_an_error(work):
    work.picture("a.png")
    work.place.output("a.png").mkdir()
    end = work.carry_out(work.item("a.png", ours=True))["a.png"]
    assert (end.kind, "is a folder" in end.text) == ("failed", True)


def test_a_file_where_a_folder_should_be_is_an_error(work):
    work.picture("deep/a.png")
    work.place.output("deep").write_bytes(b"precious")
    end = work.carry_out("deep/a.png")["deep/a.png"]
    assert end.kind == "failed"
    assert work.place.output("deep").read_bytes() == b"precious"


def test_the_output_is_never_the_source(work):
    work.picture("a.png")
    before = files_of(work.folder / "in")
    Path(work.place.outdir / "a.png").symlink_to(work.folder / "in" / "a.png")
    end = work.carry_out(work.item("a.png", ours=True))["a.png"]
    assert (end.kind, "is the input" in end.text) == ("failed", True)
    assert files_of(work.folder / "in") == before


def test_a_name_that_is_too_long_is_an_error(work):
    work.picture("a.png")
    end = work.carry_out(work.item("a.png", output=f"{'x' * 300}.png"))["a.png"]
    assert end.kind == "failed"
    assert "cannot be written" in end.text


def test_what_nobody_has_foreseen_fails_with_a_traceback_in_the_log(work, monkeypatch):
    def fails(*_, **__):
        raise ZeroDivisionError("by\nzero")

    for name in ("a.png", "b.png"):
        work.picture(name)
    monkeypatch.setattr("guided_dip.restoration.prepare", fails)
    ends = work.carry_out("a.png", "b.png")
    assert {end.text for end in ends.values()} == {"ZeroDivisionError: by zero"}
    assert "Traceback" in work.log("a.png")


# Disks that are full, or may not be written


def failing_at(monkeypatch, number, count):
    """Have the count-th time that a file is written through to the disk fail."""
    calls = []

    def fsync(_):
        calls.append(None)
        if len(calls) == count:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def test_a_disk_that_is_full_at_any_time_is_said_and_costs_nothing(work, monkeypatch):
    work.picture("a.png")
    told = orders(checkpoint_every=0.0)
    mine = work.item("a.png", ours=True)
    with monkeypatch.context() as patched:
        writes = failing_at(patched, 0, 0)
        work.carry_out(mine, with_=told)
    expected = work.place.output("a.png").read_bytes()
    assert len(writes) > 6
    for count in (1, 5, len(writes) - 1, len(writes)):
        shutil.rmtree(work.place.outdir)
        work.place.outdir.mkdir()
        with monkeypatch.context() as patched:
            failing_at(patched, errno.ENOSPC, count)
            end = work.carry_out(mine, with_=told)["a.png"]
        assert (end.kind, "No space left" in end.text) == ("stuck", True), count
        assert "\n" not in end.text
        assert not list(work.place.outdir.rglob("*.tmp"))
        assert not work.place.output("a.png").exists()
        work.carry_out(mine, with_=told)
        assert work.kinds() == {"a.png": "done"}
        assert work.place.output("a.png").read_bytes() == expected


def test_a_disk_that_is_full_when_a_run_s_figures_are_drawn_is_said(work, monkeypatch):
    def fails(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    work.picture("a.png")
    told = orders(keep_runs=True)
    with monkeypatch.context() as patched:
        patched.setattr("guided_dip.plots.redraw", fails)
        assert work.carry_out("a.png", with_=told)["a.png"].kind == "stuck"
    # By then the restoration is written, but nobody has been told that it is done.
    assert work.carry_out("a.png", with_=told)["a.png"].kind == "failed"
    assert work.carry_out(work.item("a.png", ours=True), with_=told)["a.png"].kind == "done"
    assert load_run(work.place.run("a.png")).summary.size == (16, 16)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "stuck"),
        (errno.EDQUOT, "stuck"),
        (errno.EROFS, "stuck"),
        (errno.EACCES, "failed"),
        (errno.EIO, "failed"),
    ],
)
@pytest.mark.parametrize("where", ["output", "folder", "stack", "group"])
def test_only_what_stops_all_others_too_is_no_failure(work, monkeypatch, number, kind, where):
    name = "a.tif" if where == "stack" else "a.png"
    if where == "stack":
        work.stack(name, 2)
    else:
        work.picture(name)

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(*((Path, "mkdir") if where == "folder" else (os, "fsync")), fails)
        if where == "group":
            work.picture("b.png")
            work.carry_out(name, "b.png")
        else:
            work.carry_out(name)
    assert set(work.kinds().values()) == {kind}
    assert work.written() == []


def test_a_stack_that_met_a_full_disk_goes_on_with_the_page_it_was_at(work, monkeypatch):
    work.stack("a.tif")
    with monkeypatch.context() as patched:
        writes = failing_at(patched, 0, 0)
        work.carry_out("a.tif")
    expected = work.place.output("a.tif").read_bytes()
    work.place.output("a.tif").unlink()
    with monkeypatch.context() as patched:
        failing_at(patched, errno.ENOSPC, len(writes))  # the stack itself
        assert work.carry_out("a.tif")["a.tif"].kind == "stuck"
    work.carry_out("a.tif")
    assert work.kinds() == {"a.tif": "done"}
    assert not [event for event in work.events if event.kind == "begun"]  # all pages were there
    assert work.place.output("a.tif").read_bytes() == expected


# Interruptions


def test_what_is_cut_goes_on_to_the_same_bytes(work, every_step):
    work.picture("a.png")
    work.carry_out("a.png", with_=orders(**LONG))
    expected = work.place.output("a.png").read_bytes()
    work.place.output("a.png").unlink()
    before = files_of(work.folder / "in")
    cut_at(work, "a.png", 0.8)
    work.carry_out("a.png", with_=orders(**LONG))
    assert work.kinds() == {"a.png": "cut"}
    assert "interrupted at step" in work.log("a.png")
    assert not work.place.output("a.png").exists()
    assert (work.item("a.png").work / ".partial" / "checkpoint.pt").is_file()
    work.carry_out("a.png", with_=orders(**LONG))
    assert work.kinds() == {"a.png": "done"}
    assert "going on with what an earlier attempt left" in work.log("a.png")
    steps = [event.share for event in work.events if event.kind == "step"]
    assert 0.25 <= steps[0] <= 0.8
    assert len(steps) <= 30
    assert work.place.output("a.png").read_bytes() == expected
    assert work.written() == ["a.png"]
    assert files_of(work.folder / "in") == before


def test_all_that_is_left_of_a_group_is_cut_with_one(work, every_step):
    for name in ("a.png", "b.png", "c.png"):
        work.picture(name)
    told = orders(settings={"task": "dejpeg", "noise": "auto"})  # one after another
    for name in ("a.png", "b.png", "c.png"):
        path = work.folder / "in" / name
        Image.open(path).save(path, format="JPEG")
    cut_at(work, "b.png", 0.3)
    work.carry_out("a.png", "b.png", "c.png", with_=told)
    assert work.kinds() == {"a.png": "done", "b.png": "cut", "c.png": "cut"}


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "b.png", "c.png"]])
def test_a_process_that_is_to_end_while_it_waits_leaves_all_cut_and_ends(work, names):
    for name in names:
        work.picture(name)

    def admit(_):
        raise SystemExit(1)

    items = [work.item(name) for name in names]
    with pytest.raises(SystemExit):
        carry_out(items, orders(), work.tell, admit)
    assert work.kinds() == dict.fromkeys(names, "cut")
    work.carry_out(*names)
    assert work.kinds() == dict.fromkeys(names, "done")


def test_a_process_that_is_to_end_while_it_prepares_leaves_all_cut_and_ends(work, monkeypatch):
    def ends(*_, **__):
        raise SystemExit(1)

    for name in ("a.png", "b.png"):
        work.picture(name)
    with monkeypatch.context() as patched:
        patched.setattr("guided_dip.restoration.prepare", ends)
        with pytest.raises(SystemExit):
            work.carry_out("a.png", "b.png")
    assert work.kinds() == {"a.png": "cut", "b.png": "cut"}


def cut_picture(work, share=0.4, **options):
    """Leave a picture cut; return what comes of it undisturbed."""
    work.carry_out("a.png")
    expected = work.place.output("a.png").read_bytes()
    work.place.output("a.png").unlink()
    cut_at(work, "a.png", share)
    assert work.carry_out("a.png", **options)["a.png"].kind == "cut"
    return expected


@pytest.mark.parametrize(
    "damage", ["versions", "begun", "torn", "checkpoint", "no checkpoint", "draft", "file", "other"]
)
def test_what_cannot_be_gone_on_with_is_begun_anew(work, every_step, damage):
    work.picture("a.png")
    expected = cut_picture(work)
    left = work.item("a.png").work
    begun, checkpoint = left / ".partial" / "begun.json", left / ".partial" / "checkpoint.pt"
    if damage == "versions":
        begun.write_text(begun.read_text().replace('"torch": "', '"torch": "0.'))
    elif damage == "begun":
        begun.write_bytes(b"\xff{")
    elif damage == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    elif damage == "checkpoint":
        checkpoint.write_bytes(b"no checkpoint")
    elif damage == "no checkpoint":
        checkpoint.unlink()
    elif damage == "draft":
        shutil.rmtree(left / ".partial")
        (left / ".partial").write_bytes(b"")
    elif damage == "file":
        shutil.rmtree(left)
        left.mkdir()
        (left / "note.txt").write_text("of somebody else")
    else:
        work.picture("a.png", seed=1)  # the same name, another content
    work.carry_out("a.png")
    assert work.kinds() == {"a.png": "done"}
    assert (work.place.output("a.png").read_bytes() == expected) == (damage != "other")
    anew = damage in ("versions", "begun", "torn", "checkpoint", "other")
    assert ("starting anew: " in work.log("a.png")) == anew
    assert not left.exists()


# Stacks


def test_a_stack_is_done_page_by_page(work, every_step):
    work.stack("a.tif", 3, (16, 24))
    done = work.carry_out("a.tif")["a.tif"].done
    assert (done.width, done.height, done.channels, done.pages) == (24, 16, 1, 3)
    shares = [event.share for event in work.events]
    assert shares == sorted(shares)
    begun = [event.share for event in work.events if event.kind == "begun"]
    assert begun == pytest.approx([0, 1 / 3, 2 / 3])
    with tifffile.TiffFile(work.place.output("a.tif")) as file:
        assert [page.shape for page in file.pages] == [(16, 24)] * 3
    assert work.written() == ["a.tif"]
    assert "page 3 of 3" in work.log("a.tif")


def test_a_stack_goes_on_with_the_page_it_was_cut_in(work, every_step):
    work.stack("a.tif", 2)
    work.carry_out("a.tif", with_=orders(**LONG))
    expected = work.place.output("a.tif").read_bytes()
    work.place.output("a.tif").unlink()
    cut_at(work, "a.tif", 0.9)
    work.carry_out("a.tif", with_=orders(**LONG))
    assert work.kinds() == {"a.tif": "cut"}
    work.carry_out("a.tif", with_=orders(**LONG))
    assert work.kinds() == {"a.tif": "done"}
    begun = [event.share for event in work.events if event.kind == "begun"]
    assert begun == [0.5]  # the first is not computed again
    steps = [event.share for event in work.events if event.kind == "step"]
    assert 0.6 <= steps[0] <= 0.9
    assert work.place.output("a.tif").read_bytes() == expected


def test_a_stack_that_was_changed_is_begun_anew(work, every_step):
    work.stack("a.tif")
    cut_at(work, "a.tif", 0.5)
    assert work.carry_out("a.tif")["a.tif"].kind == "cut"
    work.stack("a.tif", 2)
    assert work.carry_out("a.tif")["a.tif"].done.pages == 2
    assert "starting anew" in work.log("a.tif")


def test_a_stack_is_restored_jointly_if_that_is_wanted(work, every_step):
    work.stack("a.tif", 3, (32, 40))
    cut_at(work, "a.tif", 0.3)
    assert work.carry_out("a.tif", with_=orders(joint=True))["a.tif"].kind == "cut"
    work.carry_out("a.tif", with_=orders(joint=True))
    assert work.kinds() == {"a.tif": "done"}
    assert len([event for event in work.events if event.kind == "begun"]) == 1
    with tifffile.TiffFile(work.place.output("a.tif")) as file:
        assert len(file.pages) == 3


# Runs that are kept


def test_runs_that_are_kept_are_runs(work):
    work.picture("deep/a.png")
    work.stack("b.tif", 2)
    work.place.run("deep/a.png").mkdir(parents=True)
    (work.place.run("deep/a.png") / "of an earlier run").touch()
    work.carry_out("deep/a.png", "b.tif", with_=orders(keep_runs=True))
    assert set(work.kinds().values()) == {"done"}
    run = load_run(work.place.run("deep/a.png"))
    assert run.summary.source.sha256 == work.ends()["deep/a.png"].done.content
    assert (work.place.run("deep/a.png") / "comparison.png").is_file()
    assert not (work.place.run("deep/a.png") / "of an earlier run").exists()
    assert load_run(work.place.run("b.tif") / "page-0001").summary.size == (16, 16)
    assert not list((work.place.folder / "work").iterdir())


def test_orders_are_not_changed_by_carrying_them_out(work):
    work.picture("a.png")
    told = orders(checkpoint_every=1.0)
    same = replace(told)
    work.carry_out("a.png", with_=told)
    assert told == same


# A signal that comes too late to end a fit


@pytest.fixture
def late(monkeypatch):
    """Have SIGTERM come once, when the last step of a fit is over."""
    finish, left = Restoration.finish, [signal.SIGTERM]

    def finished(self, course):
        if left:
            os.kill(os.getpid(), left.pop())
        return finish(self, course)

    monkeypatch.setattr(Restoration, "finish", finished)


def test_a_late_signal_is_for_the_next_picture(work, late):
    work.picture("a.png")
    work.picture("b.png")
    work.carry_out("a.png", "b.png", with_=orders(joint=True))
    assert work.kinds() == {"a.png": "done", "b.png": "cut"}
    work.carry_out("b.png")
    assert work.kinds() == {"b.png": "done"}


def test_a_late_signal_is_for_the_next_page(work, late):
    work.stack("stack.tif")
    work.carry_out("stack.tif")
    assert work.kinds() == {"stack.tif": "cut"}
    assert "interrupted at page 2 of 3" in work.log("stack.tif")
    work.carry_out("stack.tif")
    assert work.ends()["stack.tif"].done.pages == 3


# Orders of a picture's own


class Made:
    """Notes what is made besides."""

    def __init__(self):
        self.made = []

    def begins(self, item):
        self.made.append(("begins", item.name, item.output.exists()))

    def ended(self, item, summaries):
        self.made.append(("ended", item.name, item.output.exists(), len(summaries)))


def test_pictures_with_orders_of_their_own_are_restored_by_these(work):
    for name in ("a.png", "b.png"):
        work.picture(name, (24, 20))
    made = Made()
    clean = work.picture("clean.png", (24, 20), seed=1)
    own = orders(
        settings={"seed": 5}, region="2,3,10,8", clean=clean, keep_runs=True, figures=False,
        time_budget=1000.0, hooks=made,
    )  # fmt: skip
    alike = orders(settings={"backbone_options": {"width": 4, "scales": 2}})
    work.carry_out(work.item("a.png", orders=own), "b.png", with_=alike)
    assert work.kinds() == {"a.png": "done", "b.png": "done"}
    before, after = (
        np.asarray(Image.open(path))
        for path in (work.folder / "in" / "a.png", work.place.output("a.png"))
    )
    changed = (before != after).any(2)
    assert changed[3:11, 2:12].any()
    assert not changed[11:].any()
    summary = load_run(work.place.run("a.png")).summary
    assert (summary.seed, summary.region) == (5, "2,3,10,8")
    assert summary.scores is not None
    assert not list(work.place.run("a.png").glob("curves.png"))
    assert made.made == [("begins", "a.png", False), ("ended", "a.png", True, 1)]
    assert work.written() == sorted(
        ["a.png", "b.png", *(name for name in work.written() if "/runs/" in name)]
    )


def test_a_page_of_a_stack_is_restored_alone(work):
    work.stack("s.tif")
    end = work.carry_out("s.tif", with_=orders(page=1))["s.tif"]
    assert (end.kind, end.done.pages) == ("done", 1)
    assert tifffile.imread(work.place.output("s.tif")).shape == (16, 16)
    work.carry_out(work.item("s.tif", output="t.tif"), with_=orders(page=7))
    assert work.kinds() == {"s.tif": "failed"}


def test_steps_say_where_the_fit_is_as_often_as_is_wanted(work):
    work.picture("a.png")
    clean = work.picture("clean.png", seed=1)
    work.carry_out("a.png", with_=orders(told_every=0.0, clean=clean, preview_every=1000.0))
    reached = [event.at for event in work.events if event.kind == "step"]
    assert [at.step for at in reached] == [1, 2, 3, 4, 5, 6]
    assert {at.steps for at in reached} == {6}
    assert [at.stage for at in reached] == sorted(at.stage for at in reached)
    assert {at.stages for at in reached} == {reached[-1].stage}
    assert all(at.loss > 0 and at.psnr > 0 and at.previews == 0 for at in reached)
    seconds = [at.seconds for at in reached]
    assert seconds == sorted(seconds)


def test_steps_that_come_before_the_fit_are_none_of_it(work):
    work.picture("a.png", (64, 64))
    mask = np.zeros((64, 64), np.uint8)
    mask[10:50, 10:50] = 255
    Image.fromarray(mask).save(work.folder / "mask.png")
    settings = {"task": "inpaint", "noise": "none", "effort": "fast"}
    wide = orders(settings=settings, mask=work.folder / "mask.png", told_every=0.0)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("guided_dip.restoration.structure.WORK", {"fast": (4, 10)})
    work.carry_out("a.png", with_=wide)
    monkey.undo()
    reached = [event.at for event in work.events if event.kind == "step"]
    assert work.kinds() == {"a.png": "done"}
    assert reached[:10] == [None] * 10
    assert [at.step for at in reached[10:]] == [1, 2, 3, 4, 5, 6]


def test_a_picture_of_which_there_is_enough_is_done_with_its_estimate(
    work, every_step, monkeypatch
):
    monkeypatch.setattr(logs, "LOOK_EVERY", 0.0)
    work.picture("a.png")
    enough = work.folder / "enough"

    def on_event(event):
        if event.kind == "step" and event.at.step == 10:
            enough.touch()

    work.on_event = on_event
    long = orders(settings={"steps": 40}, keep_runs=True, figures=False)
    end = work.carry_out(work.item("a.png", enough=enough), with_=long)["a.png"]
    assert end.kind == "done"
    assert "ended at step 10 of 40, as was asked" in end.done.note
    assert load_run(work.place.run("a.png")).summary.steps == 10


def test_pages_that_are_left_when_there_is_enough_stay_as_they_are(work, every_step, monkeypatch):
    monkeypatch.setattr(logs, "LOOK_EVERY", 0.0)
    work.stack("s.tif")
    enough = work.folder / "enough"
    enough.touch()
    assert work.carry_out(work.item("s.tif", enough=enough))["s.tif"].kind == "done"
    before = tifffile.imread(work.folder / "in" / "s.tif")
    after = tifffile.imread(work.place.output("s.tif"))
    assert (after.shape, after.dtype) == (before.shape, before.dtype)
    assert (after[1:] == before[1:]).all()
    assert (after[0] != before[0]).any()


def test_orders_are_known_by_what_they_were_before_there_were_more(work):
    assert set(orders().content()) == {"results", "settings"}
    assert set(orders(preview_every=1.0, told_every=0.1, figures=False).content()) == set(
        orders().content()
    )
    clean = work.picture("clean.png")
    more = orders(page=1, region="0,0,8,8", time_budget=3.0, clean=clean).content()
    assert set(more) == {"results", "settings", "page", "region", "time_budget", "clean"}
