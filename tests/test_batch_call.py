"""One call of a batch: what it opens, finds and keeps, and what it leaves for the next one."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch_work import TINY, orders
from guided_dip.batch import executors
from guided_dip.batch.call import (
    Sources,
    carry_out_batch,
    enrol,
    keep_orders,
    kept_orders,
    look,
    make_outdir,
    opened,
    root_of,
)
from guided_dip.batch.entries import Counts
from guided_dip.batch.executors import (
    TOGETHER,
    Crew,
    make_executor,
    parse_assignments,
    threaded,
)
from guided_dip.batch.find import stamp_of
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.place import Place, Shard
from guided_dip.batch.progress import Requests, Rules
from guided_dip.batch.reading import Reading
from guided_dip.batch.work import ELSEWHERE, Event, Orders, digest_of
from guided_dip.config import make_config
from guided_dip.errors import InputError
from guided_dip.sizing import PROGRAM
from test_batch_coordinator import Scripted

OLD = 1_600_000_000_000_000_000  # nanoseconds: long ago


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


def touch(*names, changed=OLD):
    for name in names:
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, ns=(changed, changed))


def place_of(here, shard=None):
    return Place(make_outdir(Path("out")), shard)


def enrolled(manifest, place, **options):
    digest = keep_orders(manifest, orders())
    return enrol(manifest, place, Sources([Path("in")]), digest, **options)


# Where results go


def test_outdir_is_made_and_absolute(here):
    assert make_outdir(Path("in/../out")) == here / "out"
    assert (here / "out").is_dir()
    assert make_outdir(here / "out") == here / "out"


@pytest.mark.parametrize(
    ("outdir", "reason"),
    [
        ("none/out", "there is no folder '.*none'; try creating it"),
        ("file", "is no folder; try another name"),
        ("x" * 300, "cannot be made .*File name too long.*; try another"),
    ],
)
def test_another_outdir_is_refused(here, outdir, reason):
    Path("file").touch()
    with pytest.raises(InputError, match=reason):
        make_outdir(Path(outdir))


def test_the_root_is_what_holds_all_unless_it_is_named(here):
    touch("a/1.png", "b/2.png")
    assert root_of(Sources([Path("in/a"), Path("in/b/2.png")])) == here / "in"
    assert root_of(Sources([Path("in/a")], root=Path("in"))) == here / "in"
    with pytest.raises(InputError, match=r"--root in/a/1\.png: is no folder"):
        root_of(Sources([Path("in/a")], root=Path("in/a/1.png")))


@pytest.mark.parametrize("outdir", ["in", "link"])
def test_the_folder_of_the_sources_is_no_outdir(here, outdir):
    touch("a.png")
    Path("link").symlink_to("in")
    with (
        pytest.raises(InputError, match="is the folder of the sources; try another OUTDIR"),
        opened(Place(make_outdir(Path(outdir))), here / "in"),
    ):
        pass
    assert sorted(path.name for path in Path("in").iterdir()) == ["a.png"]


# Opening


def test_a_batch_is_begun_once_and_opened_again(here):
    touch("a.png")
    place = place_of(here)
    with opened(place, here / "in") as manifest:
        enrolled(manifest, place)
        manifest.claim(1)
    with opened(place) as manifest:
        assert manifest.root == here / "in"
        assert manifest.counts() == Counts(queued=1)  # what a killed call has left
        assert manifest.entry("a.png").attempts == 0


def test_where_there_is_no_batch_none_is_opened(here):
    for shard in (None, Shard(1, 2)):
        with pytest.raises(InputError, match="holds no batch; try the OUTDIR of one"):
            opened(place_of(here, shard)).__enter__()


def test_an_outdir_that_cannot_be_written_is_an_error(here):
    place = place_of(here)
    place.folder.write_text("in the way")
    with pytest.raises(InputError, match="cannot be written to"):
        opened(place, here / "in").__enter__()


HOLD = """
import sys, time
from pathlib import Path
from guided_dip.batch.call import opened
from guided_dip.batch.place import Place, Shard
shard = Shard(*map(int, sys.argv[2:])) if sys.argv[2:] else None
with opened(Place(Path(sys.argv[1]), shard), Path("in").absolute()):
    print("open", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(here):
    """Have another process hold a batch, or a shard."""
    processes = []

    def begin(*shard):
        words = [sys.executable, "-c", HOLD, here / "out", *map(str, shard)]
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "open\n"
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def is_refused(place, reason, root=None):
    with pytest.raises(InputError, match=reason) as refused:
        opened(place, root).__enter__()
    assert "\n" not in str(refused.value)
    return True


def test_two_calls_are_never_at_work_on_one_thing(here, hold):
    place = place_of(here)
    holder = hold()
    assert is_refused(place, "another call is restoring pictures there", here / "in")
    holder.kill()
    holder.wait()
    with opened(place) as manifest:
        assert manifest.counts().total == 0


def test_the_whole_waits_for_its_shards_and_leaves_them_as_they_are(here, hold):
    touch(*(f"{number}.png" for number in range(6)))
    for number in (1, 2):
        part = place_of(here, Shard(number, 2))
        with opened(part, here / "in") as manifest:
            enrolled(manifest, part)
    holder = hold(2, 2)
    whole = place_of(here)
    assert is_refused(whole, "another call is restoring pictures there", here / "in")
    assert is_refused(place_of(here, Shard(2, 2)), "another call is", here / "in")
    assert not whole.manifest.exists()
    assert len(whole.shards()) == 2
    with opened(place_of(here, Shard(1, 2)), here / "in") as manifest:  # which goes on
        assert manifest.counts().queued > 0
    holder.kill()
    holder.wait()
    with opened(whole, here / "in") as manifest:
        assert manifest.counts() == Counts(queued=6)
    assert whole.shards() == []


def test_the_whole_takes_over_shards_without_being_told_their_root(here):
    """As ``batch retry OUTDIR`` does."""
    touch(*(f"{number}.png" for number in range(6)))
    for number in (1, 2, 3):
        part = place_of(here, Shard(number, 3))
        with opened(part, here / "in") as manifest:
            enrolled(manifest, part)
            for entry in manifest.claim(1):
                manifest.fail(entry.name, "torn")
    place = place_of(here)
    with opened(place) as manifest:
        assert manifest.root == here / "in"
        assert manifest.counts().total == 6
        assert manifest.counts().failed == 3
        assert kept_orders(manifest.latest_settings()[1]) == orders()
        assert manifest.retry_failed() == 3


def test_what_is_a_whole_or_parted_is_not_parted_otherwise(here):
    with opened(place_of(here, Shard(2, 3)), here / "in"):
        pass
    with opened(place_of(here, Shard(3, 3)), here / "in"):
        pass
    for other in (Shard(2, 13), Shard(1, 2)):
        assert is_refused(place_of(here, other), r"parted otherwise already \(shard-", here / "in")
    with opened(place_of(here), here / "in"):
        pass
    for shard in (Shard(2, 3), Shard(1, 1)):
        assert is_refused(place_of(here, shard), "is a batch that is not parted", here / "in")


# Finding


def test_each_shard_enrols_its_part(here):
    touch(*(f"{number}.png" for number in range(30)))
    names = []
    for number in (1, 2, 3):
        part = place_of(here, Shard(number, 3))
        with opened(part, here / "in") as manifest:
            assert enrolled(manifest, part).new > 0
            names += [entry.name for entry in manifest.entries()]
    assert sorted(names) == sorted(f"{number}.png" for number in range(30))
    with Reading(place_of(here)) as reading:
        assert reading.counts() == Counts(queued=30)
        assert reading.root == here / "in"
        assert reading.settings() == orders().content()
        assert reading.pace() is None
        pages, after = [], 0
        while page := reading.entries("queued", after, 7):
            pages += page
            after = page[-1].id
        assert len(pages) == len({entry.id for entry in pages}) == 30
        assert [entry.id for entry in pages] == sorted(entry.id for entry in pages)
        assert reading.entries("done", 0, 7) == []
    with Reading(place_of(here, Shard(1, 3))) as reading:
        assert 0 < reading.counts().queued < 30


def test_a_file_that_is_being_written_is_left_for_the_next_look(here):
    now = time.time_ns()
    touch("old.png")
    touch("now.png", changed=now)
    touch("server-ahead.png", changed=now + 60 * 10**9)
    touch("camera-in-another-year.png", changed=now + 10**9 * 86400 * 300)
    place = place_of(here)
    with opened(place, here / "in") as manifest:
        enrolled(manifest, place, watched=True)
        there = {entry.name for entry in manifest.entries()}
        assert there == {"old.png", "camera-in-another-year.png"}
        digest = keep_orders(manifest, orders())
        touch("now.png", changed=now - 10**10)
        look(manifest, place, Sources([Path("in")]), digest)
        assert manifest.entry("now.png").state == "queued"
        assert manifest.entry("server-ahead.png") is None
        look(manifest, place, Sources([Path("in/*.tif")]), digest)  # which matches nothing yet


def test_what_is_watched_is_warned_of_once(here, caplog):
    touch("a.png")
    Path("in/nowhere.png").symlink_to("no.png")
    place = place_of(here)
    with opened(place, here / "in") as manifest, caplog.at_level(logging.WARNING):
        digest, sources = keep_orders(manifest, orders()), Sources([Path("in")])
        enrol(manifest, place, sources, digest, watched=True)
        look(manifest, place, sources, digest)
        Path("in/later.png").symlink_to("no.png")
        look(manifest, place, sources, digest)
        look(manifest, place, sources, digest)
    said = [record.getMessage() for record in caplog.records]
    names = [
        f"{here}/in/{name}: cannot be read (leads nowhere)" for name in ("nowhere.png", "later.png")
    ]
    assert said == names


def test_what_has_changed_is_enrolled_again(here):
    touch("a.png", "b.png")
    place = place_of(here)
    with opened(place, here / "in") as manifest:
        enrolled(manifest, place)
        carry_out_batch(
            manifest,
            manifest.latest_settings()[0],
            Scripted(),
            place,
            Rules(),
            Requests(),
            lambda _: None,
        )
        assert enrolled(manifest, place).kept == 2
        place.output("a.png").unlink()
        assert enrolled(manifest, place).changed == 1


def test_what_is_left_of_unfinished_runs_goes_when_all_is_over(here):
    touch("a.png", "b.png")
    place = place_of(here)
    left = place.work("a.png", "other settings")
    left.mkdir(parents=True)
    executor = Scripted()
    closed = []
    executor.close = lambda: closed.append(True)
    asked = Requests()
    with opened(place, here / "in") as manifest:
        enrolled(manifest, place)
        asked.drain = True
        carry_out_batch(
            manifest, manifest.latest_settings()[0], executor, place, Rules(), asked, lambda _: None
        )
        assert left.is_dir()
        carry_out_batch(
            manifest,
            manifest.latest_settings()[0],
            executor,
            place,
            Rules(),
            Requests(),
            lambda _: None,
        )
    assert not left.exists()
    assert closed == [True, True]


def test_no_process_is_left_when_the_loop_fails(here, monkeypatch):
    touch("a.png")
    place = place_of(here)
    closed = []

    def fails(item):
        raise KeyboardInterrupt

    executor = Scripted(fails)
    executor.close = lambda: closed.append(True)
    with opened(place, here / "in") as manifest:
        enrolled(manifest, place)
        with pytest.raises(KeyboardInterrupt):
            carry_out_batch(
                manifest,
                manifest.latest_settings()[0],
                executor,
                place,
                Rules(),
                Requests(),
                lambda _: None,
            )
    assert closed == [True]


def test_a_process_of_this_machine_restores_all_there_is(here):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"in/{number}.png")
    Path("in/torn.png").write_bytes(b"torn")
    place, told = place_of(here), orders(settings={"steps": 2})
    seen = []
    with opened(place, here / "in") as manifest:
        digest = keep_orders(manifest, told)
        enrol(manifest, place, Sources([Path("in")]), digest)
        executor, together = make_executor(Crew(workers=1), told, place)
        rules = Rules(together=together)
        ending = carry_out_batch(
            manifest, manifest.latest_settings()[0], executor, place, rules, Requests(), seen.append
        )
        assert ending.counts == Counts(done=3, failed=1)
        for entry in manifest.entries("done"):
            assert entry.done.stamp == stamp_of(place.output(entry.output))
    assert seen[-1].counts.left == 0
    assert not (place.folder / "work").exists()


# Orders

FIELDS = {
    "seed": 1,
    "steps": 7,
    "noise": "gaussian:21",
    "backbone_options": {"width": 5, "scales": 2},
    "strength": 0.5,
    "precision": "float32",
    "tile": 64,
    "max_memory": "8GiB",
    "final_draws": 3,
}


def files(here):
    for number, name in enumerate(("mask.png", "kernel.png", "gain.png")):
        Path(name).write_bytes(bytes([number]))
    return [here / name for name in ("mask.png", "kernel.png", "gain.png")]


def test_whatever_changes_results_changes_what_decides_them(here):
    mask, kernel, gain = files(here)
    known = {"mask": mask, "kernel": kernel, "gain": gain}
    kinds = [orders(settings={name: value}) for name, value in FIELDS.items()]
    kinds += [orders(), orders(joint=True), orders(**known, invert_mask=True), orders(**known)]
    kinds += [orders(**{name: path}) for name, path in known.items()]
    digests = {digest_of(each.content()) for each in kinds}
    assert len(digests) == len(kinds)
    before = orders(mask=mask).content()
    mask.write_bytes(b"another")
    assert orders(mask=mask).content() != before
    assert json.loads(json.dumps(before)) == before


def test_where_and_how_it_is_computed_changes_nothing(here):
    mask, *_ = files(here)
    same = {"threads": 3, "device": "cuda:1"}
    assert set(same) == set(ELSEWHERE)
    base = orders(mask=mask)
    others = [orders(settings={name: value}, mask=mask) for name, value in same.items()]
    others += [dataclasses.replace(base, checkpoint_every=1.0), dataclasses.replace(base)]
    others += [dataclasses.replace(base, keep_runs=True, max_pixels=10)]
    Path("copy.png").write_bytes(mask.read_bytes())
    others += [orders(mask=here / "copy.png")]
    for other in others:
        assert other.content() == base.content()
    assert orders(invert_mask=True).content() == orders().content()  # there is no mask


def test_it_does_not_matter_which_defaults_are_set():
    plain = Orders(make_config({}))
    assert plain.content()["settings"] == {}
    explicit = Orders(make_config({"seed": 0, "supervision": "recorrupted-guides"}))
    assert explicit.content() == plain.content()
    assert Orders(plain.config.replace(threads=4)).content() == plain.content()
    for name, value in FIELDS.items():
        assert Orders(make_config({name: value})).content()["settings"] == {name: value}
    for name in ("report", "author"):
        assert len(Orders(make_config({}, preset=name)).content()["settings"]) > 3


@pytest.mark.parametrize("with_files", [False, True])
def test_orders_that_are_kept_come_back(here, with_files):
    told = orders()
    if with_files:
        mask, kernel, gain = files(here)
        odd = here / os.fsdecode(b"\xff.png")
        mask.rename(odd)
        told = Orders(
            make_config(TINY),
            *(odd, kernel, gain),
            invert_mask=True,
            joint=True,
            max_pixels=10**9,
            checkpoint_every=7,
            keep_runs=True,
        )
    with Manifest.create(here / "manifest.sqlite", here / "in") as manifest:
        digest = keep_orders(manifest, told)
        back = kept_orders(manifest.latest_settings()[1])
        assert manifest.latest_settings()[0] == digest
    assert back == told
    assert digest == digest_of(told.content()) == digest_of(back.content())
    assert back.config.model_fields_set == told.config.model_fields_set


def kept(**changed):
    plain = {"config": {"steps": 4}, "mask": None, "kernel": None, "gain": None}
    return {"content": {}, "orders": plain | changed}


def test_orders_of_fewer_words_are_orders():
    assert kept_orders(kept()) == Orders(make_config({"steps": 4}))


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"orders": None},
        {"orders": "text"},
        {"orders": ["a", "b"]},
        {"orders": {}},
        kept(config=None),
        kept(config="text"),
        kept(config={"no such setting": 1}),
        kept(config={"steps": "many\nlines"}),
        kept(mask=5),
        kept(joint="perhaps"),
        kept(checkpoint_every="soon"),
        kept(max_pixels=1.5),
        kept(of_another_version=1),
    ],
)
def test_orders_that_are_damaged_are_said_to_be_in_one_line(damaged):
    with pytest.raises(InputError) as refused:
        kept_orders(damaged)
    text = str(refused.value)
    assert text.startswith("the manifest's settings cannot be used any more (")
    assert text.endswith("; try the batch's whole command again")
    assert "\n" not in text


# Who restores the pictures


@pytest.fixture
def made(monkeypatch, here):
    """Return with which devices and memory an executor is made, without making it."""
    from guided_dip.batch import local

    def make(crew=None, gpus=0, total=16 * 2**30, cores=8, **settings):
        monkeypatch.setattr(executors, "cuda_devices", lambda: gpus)
        monkeypatch.setattr(executors, "cores", lambda: cores)
        monkeypatch.setattr(executors, "total_memory", lambda: total)
        monkeypatch.setattr(local, "LocalExecutor", lambda _, devices, memory: (devices, memory))
        told = Orders(make_config(settings))
        (devices, memory), together = make_executor(crew or Crew(), told, Place(here))
        return devices, memory, together

    return make


def test_there_is_a_process_a_gpu_else_a_core(made):
    assert made() == ([None] * 8, 8 * 2**30, 1)
    assert made(gpus=2) == (["cuda:0", "cuda:1"], None, TOGETHER)
    assert made(gpus=2, device="cuda") == (["cuda:0", "cuda:1"], None, TOGETHER)
    assert made(gpus=2, device="cpu") == ([None] * 8, 8 * 2**30, 1)
    assert made(gpus=2, device="cuda:1") == (["cuda:1"], None, TOGETHER)
    assert made(Crew(workers=3), gpus=2)[0] == ["cuda:0", "cuda:1", "cuda:0"]
    assert made(Crew(workers=3, together=2)) == ([None] * 3, 8 * 2**30, 2)


def test_there_are_no_more_processes_than_the_memory_holds(made):
    assert made(max_memory="2GiB")[:2] == ([None] * (2 * 2**30 // PROGRAM), 2 * 2**30)
    assert made(max_memory="1GiB", cores=1)[0] == [None]
    assert len(made(total=2**20)[0]) == 1
    assert made(total=None)[:2] == ([None] * 8, None)


def test_each_picture_gets_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(executors, "cores", lambda: 8)
    auto = Orders(make_config({}))
    assert threaded(auto, Crew()).config.threads == 1
    assert threaded(auto, Crew(workers=2)).config.threads == 4
    assert threaded(auto, Crew(workers=50)).config.threads == 1
    assert threaded(auto, Crew("ray", workers=2)).config.threads == 1
    stated = Orders(make_config({"threads": 5}))
    assert threaded(stated, Crew(workers=2)) == stated
    assert threaded(auto, Crew(workers=2)).content() == auto.content()


def test_an_executor_that_is_none_is_refused_with_a_hint():
    with pytest.raises(InputError, match=r"--executor slrum: is none: did you mean 'slurm'\?"):
        Crew("slrum")


def test_what_slurm_is_asked_for_is_read():
    asked = parse_assignments(["partition=gpu", " time = 1:00:00", "comment=a=b", "qos="])
    assert asked == {"partition": "gpu", "time": "1:00:00", "comment": "a=b", "qos": ""}
    for text in ("partition", "=gpu", " =gpu"):
        with pytest.raises(InputError, match="there is no '='; try --slurm partition=gpu"):
            parse_assignments([text])


def test_events_and_orders_can_be_sent(here):
    import pickle

    for thing in (orders(joint=True), Event("failed", os.fsdecode(b"\xff"), "why", 0.5)):
        assert pickle.loads(pickle.dumps(thing)) == thing
