"""Pictures of a group, computed as one where they can be: each still comes to its own end."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch_work import Work, cut_at, files_of, orders
from guided_dip.batch import carry_out as carrying
from guided_dip.batch import logs


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path)
    yield made
    assert logging.getLogger("guided_dip").handlers == []


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(logs, "EVERY", 0.0)


def counts_of(monkeypatch):
    """Note how many are computed as one."""
    from guided_dip.restoration import run_together

    counts = []

    def counted(restorations, on_step=None):
        counts.append(len(restorations))
        return run_together(restorations, on_step)

    monkeypatch.setattr("guided_dip.restoration.run_together", counted)
    return counts


def test_pictures_of_one_size_are_computed_as_one(work, monkeypatch, every_step):
    names = [f"{number}.png" for number in range(3)]
    for number, name in enumerate(names):
        work.picture(name, seed=number)
    before = files_of(work.folder / "in")
    counts = counts_of(monkeypatch)
    ends = work.carry_out(*names)
    assert counts == [3]
    assert work.kinds() == dict.fromkeys(names, "done")
    contents = {name: hashlib.sha256((work.folder / "in" / name).read_bytes()) for name in names}
    assert {name: ends[name].done.content for name in names} == {
        name: digest.hexdigest() for name, digest in contents.items()
    }
    for name in names:
        own = [event.kind for event in work.events if event.name == name]
        assert own == ["begun", *["step"] * 6, "done"]
        assert f"in/{name}: 16x16 RGB" in work.log(name)
        assert "done in" in work.log(name)
    # Each is admitted beside those before it.
    first = work.admitted[0]
    assert work.admitted == [first, 2 * first, 3 * first]
    assert files_of(work.folder / "in") == before
    assert work.written() == names


def test_they_are_as_if_restored_by_themselves(work):
    two_steps = orders(settings={"steps": 2})
    for number in range(2):
        work.picture(f"{number}.png", seed=number)
    work.carry_out("0.png", "1.png", with_=two_steps)
    as_one = [np.asarray(Image.open(work.place.output(f"{n}.png"))).astype(int) for n in range(2)]
    for number in range(2):
        work.carry_out(work.item(f"{number}.png", ours=True), with_=two_steps)
        alone = np.asarray(Image.open(work.place.output(f"{number}.png"))).astype(int)
        assert np.abs(alone - as_one[number]).max() <= 2


def test_pictures_of_several_sizes_are_restored_one_by_one(work, monkeypatch, every_step):
    names = ["a.png", "b.png", "c.png"]
    for number, name in enumerate(names):
        work.picture(name, (16, 16 + 8 * number))
    counts = counts_of(monkeypatch)
    work.carry_out(*names)
    assert counts == []
    assert work.kinds() == dict.fromkeys(names, "done")
    for name in names:
        shares = [event.share for event in work.events if event.name == name]
        assert shares[-2] < 1  # though it has begun twice
    one_by_one = work.admitted[-3:]
    assert max(one_by_one) <= max(work.admitted[0], one_by_one[2])  # each for itself, in the end
    alone = work.place.output("b.png").read_bytes()
    work.carry_out(work.item("b.png", ours=True))
    assert work.place.output("b.png").read_bytes() == alone


def test_one_by_one_they_leave_checkpoints_and_nothing_beside_the_outputs(work, every_step):
    for name, size in (("a.png", (16, 16)), ("b.png", (16, 24))):
        work.picture(name, size)
    cut_at(work, "b.png", 0.4)
    work.carry_out("a.png", "b.png")
    assert work.kinds() == {"a.png": "done", "b.png": "cut"}
    assert [path.name for path in work.place.outdir.iterdir() if "batch" not in path.name] == [
        "a.png"
    ]
    assert (work.item("b.png").work / ".partial" / "checkpoint.pt").is_file()
    # What has a checkpoint goes on by itself.
    work.picture("c.png", (16, 24))
    work.carry_out("b.png", "c.png")
    assert work.kinds() == {"b.png": "done", "c.png": "done"}
    assert "going on with what an earlier attempt left" in work.log("b.png")
    assert "going on" not in work.log("c.png")


def test_one_of_a_group_that_is_corrupt_fails_alone(work, monkeypatch):
    for name in ("a.png", "c.png"):
        work.picture(name)
    (work.folder / "in" / "b.png").write_bytes(b"no picture")
    work.place.output("d.png").write_bytes(b"precious")
    work.picture("d.png")
    counts = counts_of(monkeypatch)
    work.carry_out("a.png", "b.png", "c.png", "d.png")
    assert counts == [2]
    expected = {"a.png": "done", "b.png": "failed", "c.png": "done", "d.png": "failed"}
    assert work.kinds() == expected
    assert work.place.output("d.png").read_bytes() == b"precious"


def test_a_stack_in_a_group_is_restored_beside_it(work, monkeypatch):
    for name in ("a.png", "c.png"):
        work.picture(name)
    work.stack("b.tif", 2)
    counts = counts_of(monkeypatch)
    ends = work.carry_out("a.png", "b.tif", "c.png")
    assert counts == [2]
    assert {name: end.done.pages for name, end in ends.items()} == {
        "a.png": 1,
        "b.tif": 2,
        "c.png": 1,
    }


def test_a_limit_of_pixels_goes_for_groups_too(work):
    for name, size in (("a.png", (16, 16)), ("b.png", (16, 16)), ("c.png", (16, 24))):
        work.picture(name, size)
    work.carry_out("a.png", "b.png", "c.png", with_=orders(max_pixels=300))
    assert work.kinds() == {"a.png": "done", "b.png": "done", "c.png": "failed"}


def test_one_of_a_group_that_diverges_is_restored_by_itself(work, monkeypatch, every_step):
    from guided_dip.restoration import run_together

    def one_diverges(restorations, on_step=None):
        return [run_together(restorations, on_step)[0], None]

    for number, name in enumerate(("a.png", "b.png")):
        work.picture(name, seed=number)
    monkeypatch.setattr("guided_dip.restoration.run_together", one_diverges)
    work.carry_out("a.png", "b.png")
    assert work.kinds() == {"a.png": "done", "b.png": "done"}
    assert "restored by itself" in work.log("b.png")
    assert "restored by itself" not in work.log("a.png")
    as_it_was = work.place.output("b.png").read_bytes()
    work.carry_out(work.item("b.png", ours=True))
    assert work.place.output("b.png").read_bytes() == as_it_was


def test_a_group_that_is_cut_keeps_nothing(work, every_step):
    for name in ("a.png", "b.png"):
        work.picture(name)
    cut_at(work, "b.png", 0.4)
    work.carry_out("a.png", "b.png")
    assert work.kinds() == {"a.png": "cut", "b.png": "cut"}
    assert work.written() == []
    work.carry_out("a.png", "b.png")
    assert work.kinds() == {"a.png": "done", "b.png": "done"}


def test_what_cannot_be_computed_as_one_after_all_is_restored_one_by_one(work, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    for name in ("a.png", "b.png"):
        work.picture(name)
    monkeypatch.setattr("guided_dip.restoration.run_together", fails)
    work.carry_out("a.png", "b.png")
    assert work.kinds() == {"a.png": "done", "b.png": "done"}
    assert "not computed as one: not enough memory" in work.log("b.png")


@pytest.mark.parametrize(
    ("changed", "as_one"),
    [
        ({}, True),
        ({"keep_runs": True}, False),
        ({"joint": True}, False),
        ({"mask": Path("mask.png")}, False),
        ({"settings": {"task": "dejpeg"}}, False),
    ],
)
def test_only_plain_fits_are_computed_as_one(changed, as_one):
    assert carrying._can_go_together(orders(**changed)) == as_one
