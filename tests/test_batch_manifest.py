"""The manifest of a batch: what it says stays true, whatever happens to who writes it."""

import hashlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guided_dip.batch import database, enrolment, manifest
from guided_dip.batch.entries import Counts, Done, Found, Stamp
from guided_dip.batch.manifest import Enrolled, Manifest
from guided_dip.batch.rows import restored, stored
from guided_dip.errors import InputError, RunError

ROOT = Path("/pictures")


class World:
    """The files that a batch sees: their contents and stamps, without a disk."""

    def __init__(self, *names):
        self.contents = dict.fromkeys(names, b"first")
        self.stamps = {name: Stamp(5, 1) for name in names}
        self.written = {}
        self.read = []
        self.suffix = "png"

    def output(self, name):
        return f"{name.rsplit('.', 1)[0]}.{self.suffix}"

    def found(self, *names):
        names = names or tuple(self.contents)
        return [Found(name, self.output(name), self.stamps.get(name)) for name in names]

    def content_of(self, name):
        self.read.append(name)
        if name not in self.contents:
            raise FileNotFoundError(name)
        return hashlib.sha256(self.contents[name]).hexdigest()

    def enrol(self, batch, *names, settings="one", **options):
        self.read.clear()
        return batch.enrol(
            self.found(*names),
            settings,
            content_of=self.content_of,
            output_stamp_of=self.written.get,
            **options,
        )

    def end(self, batch, *names):
        """Let running pictures end well, as a job does; return what is said of them."""
        for name in names:
            entry = batch.entry(name)
            self.written[entry.output] = Stamp(7, 100)
            content = hashlib.sha256(self.contents[name]).hexdigest()
            batch.finish(name, Done(content, Stamp(7, 100), 1.5, 40, 30, 3))


@pytest.fixture
def batch(tmp_path):
    with Manifest.create(tmp_path / "manifest", ROOT) as made:
        made.keep_settings("one", {"effort": "fast"})
        made.keep_settings("two", {"effort": "best"})
        yield made


@pytest.fixture
def ended(batch):
    """Two pictures: a.tif is done, b.tif has failed."""
    world = World("a.tif", "b.tif")
    world.enrol(batch)
    batch.claim(2)
    world.end(batch, "a.tif")
    batch.fail("b.tif", "is empty")
    return world


def is_sound(path):
    """Check all that must be true of a manifest, with SQLite alone; return its counts."""
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        recount = dict(raw.execute("SELECT state, count(*) FROM pictures GROUP BY state"))
        kept = dict(raw.execute("SELECT state, number FROM counts"))
        assert kept == {**dict.fromkeys(kept, 0), **recount}
        twice = "SELECT {0} FROM pictures {1} GROUP BY {0} HAVING count(*) > 1"
        assert raw.execute(twice.format("name", "")).fetchall() == []
        assert raw.execute(twice.format("output", "WHERE clashes IS NULL")).fetchall() == []
    return Counts(**kept)


def is_legal(entry):
    """Check that what an entry says fits its state."""
    assert (entry.state == "done") == (entry.done is not None)
    assert (entry.state == "failed") == bool(entry.reason)
    if entry.state in ("queued", "running"):
        assert entry.ended is None
    if entry.state in ("running", "done"):
        assert entry.attempts >= 1
        assert entry.began is not None
    if entry.state == "done":
        assert entry.ours
        assert entry.ended >= entry.began


# What is to be done


def test_new_pictures_are_queued_in_the_order_they_came_in(batch):
    world = World("c.png", "a.png", "b/a.png")
    assert world.enrol(batch) == Enrolled(new=3)
    assert [(e.id, e.name, e.state) for e in batch.entries()] == [
        (1, "c.png", "queued"),
        (2, "a.png", "queued"),
        (3, "b/a.png", "queued"),
    ]
    assert [e.name for e in batch.claim(2)] == ["c.png", "a.png"]
    assert [e.name for e in batch.claim(2)] == ["b/a.png"]
    assert batch.claim(2) == []
    assert world.read == []


def test_a_claim_says_when_and_how_often(batch, monkeypatch):
    World("a.png").enrol(batch)
    monkeypatch.setattr(time, "time", lambda: 123.5)
    [claimed] = batch.claim(5)
    assert (claimed.state, claimed.began, claimed.attempts) == ("running", 123.5, 1)
    assert batch.entry("a.png") == claimed
    batch.requeue(["a.png"], counted=True)
    assert batch.claim(5)[0].attempts == 2
    batch.requeue(["a.png"], counted=False)
    assert batch.entry("a.png").attempts == 1
    assert batch.claim(5)[0].attempts == 2
    assert batch.requeue_running() == 1
    assert batch.counts() == Counts(queued=1)
    batch.requeue(["a.png", "unknown"], counted=False)  # is not running
    assert batch.entry("a.png").attempts == 1


def test_settings_are_claimed_by_themselves(batch):
    World("a.png", "b.png").enrol(batch)
    batch.keep_settings("two", {})
    World("c.png", "d.png").enrol(batch, settings="two")
    assert (batch.queued("one"), batch.queued("two")) == (2, 2)
    assert batch.queued_settings() == ["one", "two"]
    assert [entry.name for entry in batch.claim(9, "two")] == ["c.png", "d.png"]
    assert (batch.has_queued("one"), batch.has_queued("two")) == (True, False)
    assert batch.queued_settings() == ["one"]
    assert batch.claim(9, "two") == []
    batch.requeue(["d.png"], counted=False)
    assert batch.queued("two") == 1
    assert [entry.settings for entry in batch.claim(1, "one")] == ["one"]
    with pytest.raises(LookupError):
        batch.queued("three")


def test_what_is_done_comes_back_as_it_was_told(batch, monkeypatch):
    World("a.png").enrol(batch)
    batch.claim(1)
    done = Done("f" * 64, Stamp(3, 2**70), 12.25, 640, 480, 4, 7, "sigma 3", "note\non two lines")
    monkeypatch.setattr(time, "time", lambda: 99.0)
    batch.finish("a.png", done)
    entry = batch.entry("a.png")
    assert entry.done == replace(done, note="note on two lines")
    assert (entry.state, entry.ended, entry.ours, entry.reason) == ("done", 99.0, True, "")
    assert entry.settings == "one"
    assert batch.entry("b.png") is None


@pytest.mark.parametrize("name", ["a.tif", "b.tif", "unknown"])
def test_only_what_is_running_ends(batch, ended, name):
    before = batch.entries()
    with pytest.raises(LookupError, match="is not running"):
        batch.fail(name, "for no reason")
    with pytest.raises(LookupError, match="is not running"):
        batch.finish(name, Done("f", Stamp(1, 1), 1, 1, 1, 1))
    assert batch.entries() == before


# What is skipped


def test_what_has_not_changed_is_kept_and_not_read(batch, ended):
    before = batch.entries()
    assert ended.enrol(batch) == Enrolled(kept=1, failed_before=1)
    assert ended.read == []
    assert batch.entries() == before


def test_a_new_stamp_of_the_same_content_is_noted(batch, ended):
    ended.stamps["a.tif"] = Stamp(5, 2)
    assert ended.enrol(batch, "a.tif") == Enrolled(kept=1)
    assert ended.read == ["a.tif"]
    assert batch.entry("a.tif").stamp == Stamp(5, 2)
    assert batch.entry("a.tif").state == "done"
    ended.enrol(batch, "a.tif")
    assert ended.read == []


def test_new_content_is_restored_anew(batch, ended):
    ended.stamps["a.tif"], ended.contents["a.tif"] = Stamp(6, 2), b"second"
    assert ended.enrol(batch, "a.tif") == Enrolled(changed=1)
    entry = batch.entry("a.tif")
    assert (entry.state, entry.stamp, entry.done) == ("queued", Stamp(6, 2), None)
    assert (entry.attempts, entry.began, entry.ended, entry.ours) == (0, None, None, True)


def test_content_that_hides_behind_its_stamp_is_found_when_asked_for(batch, ended):
    assert ended.enrol(batch, "a.tif", compare_contents=True) == Enrolled(kept=1)
    ended.contents["a.tif"] = b"other"
    assert ended.enrol(batch, "a.tif") == Enrolled(kept=1)
    assert ended.enrol(batch, "a.tif", compare_contents=True) == Enrolled(changed=1)


@pytest.mark.parametrize("stamp", [None, Stamp(7, 101), Stamp(8, 100)])
def test_an_output_that_is_gone_or_other_is_made_anew(batch, ended, stamp):
    ended.written["a.png"] = stamp
    assert ended.enrol(batch, "a.tif") == Enrolled(changed=1)
    assert ended.read == []


def test_other_settings_and_overwriting_queue_all(batch, ended):
    assert ended.enrol(batch, settings="two") == Enrolled(changed=2)
    assert {entry.settings for entry in batch.entries("queued")} == {"two"}
    batch.claim(2)
    ended.end(batch, "a.tif", "b.tif")
    assert ended.enrol(batch, settings="two") == Enrolled(kept=2)
    assert ended.enrol(batch, settings="two", overwrite=True) == Enrolled(changed=2)
    assert ended.read == []


def test_a_source_that_cannot_be_read_is_for_the_job_to_tell(batch, ended):
    ended.stamps["a.tif"] = Stamp(9, 9)
    del ended.contents["a.tif"]
    assert ended.enrol(batch, "a.tif") == Enrolled(changed=1)
    assert ended.read == ["a.tif"]


def test_a_source_that_is_not_there_fails_once(batch):
    world = World()
    assert world.enrol(batch, "gone.png") == Enrolled(new=1)
    batch.claim(1)
    batch.fail("gone.png", "there is no such file")
    assert world.enrol(batch, "gone.png") == Enrolled(failed_before=1)
    world.stamps["gone.png"] = Stamp(1, 1)
    assert world.enrol(batch, "gone.png") == Enrolled(changed=1)


def test_a_done_picture_whose_source_is_gone_is_not_kept(batch, ended):
    del ended.stamps["a.tif"]
    assert ended.enrol(batch, "a.tif") == Enrolled(changed=1)


def test_what_has_failed_is_left_alone_until_it_changes_or_is_told(batch, ended):
    assert ended.enrol(batch, "b.tif") == Enrolled(failed_before=1)
    assert batch.retry_failed() == 1
    entry = batch.entry("b.tif")
    assert (entry.state, entry.reason, entry.attempts) == ("queued", "", 0)
    batch.claim(1)
    batch.fail("b.tif", "is empty")
    ended.stamps["b.tif"] = Stamp(8, 8)
    assert ended.enrol(batch, "b.tif") == Enrolled(changed=1)


def test_what_waits_takes_over_stamp_and_settings(batch):
    world = World("a.png", "b.png")
    world.enrol(batch)
    batch.claim(1)
    world.stamps = dict.fromkeys(world.stamps, Stamp(6, 6))
    assert world.enrol(batch, settings="two") == Enrolled(waiting=2)
    running, queued = batch.entries()
    assert (queued.state, queued.stamp, queued.settings) == ("queued", Stamp(6, 6), "two")
    assert (running.state, running.stamp, running.settings) == ("running", Stamp(5, 1), "one")
    assert world.enrol(batch, settings="two", overwrite=True) == Enrolled(waiting=2)


def test_a_name_that_comes_again_is_one_picture(batch, monkeypatch):
    world = World("a.png", "b.png")
    assert world.enrol(batch, "a.png", "b.png", "a.png") == Enrolled(new=2)
    monkeypatch.setattr(manifest, "CHUNK", 1)
    assert world.enrol(batch, "a.png", "c.png", "c.png") == Enrolled(new=1, waiting=2)
    assert [entry.name for entry in batch.entries()] == ["a.png", "b.png", "c.png"]


def test_settings_must_have_been_kept(batch):
    with pytest.raises(LookupError, match="no settings three"):
        World("a.png").enrol(batch, settings="three")


def test_a_failure_while_enrolling_leaves_whole_transactions(batch, monkeypatch):
    monkeypatch.setattr(manifest, "CHUNK", 2)
    monkeypatch.setattr(manifest, "CHUNKS", 2)

    def found():
        for number in range(11):
            if number == 9:
                raise OSError("the folder is gone")
            yield Found(f"{number}.png", f"{number}.png", Stamp(1, 1))

    with pytest.raises(OSError, match="is gone"):
        batch.enrol(found(), "one", content_of=str, output_stamp_of={}.get)
    assert batch.counts() == Counts(queued=4)
    assert is_sound(batch.path) == Counts(queued=4)


def test_a_transaction_does_not_last_longer_than_what_may_be_lost(batch, monkeypatch):
    monkeypatch.setattr(manifest, "CHUNK", 1)
    monkeypatch.setattr(manifest, "SECONDS", -1.0)
    seen = []

    def found():
        for number in range(3):
            with Manifest.open(batch.path, read_only=True) as reader:
                seen.append(reader.counts().total)
            yield Found(f"{number}.png", f"{number}.png", None)

    batch.enrol(found(), "one", content_of=str, output_stamp_of={}.get)
    assert seen == [0, 0, 1]  # the next one is looked at before what came before is committed


# Two sources, one output


def test_the_second_of_two_with_one_output_fails_and_stays_so(batch, monkeypatch):
    world = World("a.tif", "a.png", "b.png")
    for expected in (Enrolled(new=2, clashes=1), Enrolled(waiting=2, clashes=1)):
        assert world.enrol(batch) == expected
        assert world.enrol(batch, "b.png", "a.png") == Enrolled(waiting=1, clashes=1)
        second = batch.entry("a.png")
        assert second.state == "failed"
        assert second.reason.startswith("would be written to a.png, as a.tif is; try ")
        assert batch.retry_failed() == 0
    assert [entry.name for entry in batch.claim(9)] == ["a.tif", "b.png"]
    world.end(batch, "a.tif", "b.png")
    assert world.enrol(batch, "a.png", "a.tif", "b.png") == Enrolled(kept=2, clashes=1)
    assert world.enrol(batch, overwrite=True) == Enrolled(changed=2, clashes=1)
    assert batch.recent_pace() is None


@pytest.mark.parametrize("chunk", [1, 500])
def test_a_clash_is_over_when_the_first_is_written_elsewhere(batch, monkeypatch, chunk):
    monkeypatch.setattr(manifest, "CHUNK", chunk)
    world = World("a.png", "a.tif")
    world.enrol(batch)
    world.output = lambda name: name  # each in its own format, from now on
    assert world.enrol(batch) == Enrolled(waiting=1, changed=1)
    assert batch.counts() == Counts(queued=2)
    world.output = lambda name: {"a.png": "a.tif", "a.tif": "a.png"}[name]
    assert sum(asdict(world.enrol(batch)).values()) == 2
    assert {entry.output for entry in batch.entries("queued")} == {"a.png", "a.tif"}


@pytest.mark.parametrize("chunk", [1, 500])
def test_an_output_that_was_left_is_free_at_once(batch, monkeypatch, chunk):
    monkeypatch.setattr(manifest, "CHUNK", chunk)
    world = World("a.tif", "a.png")
    world.enrol(batch, "a.tif")
    world.output = lambda name: name
    assert world.enrol(batch) == Enrolled(new=1, waiting=1)


def test_who_clashed_goes_on_though_it_is_not_found_again(batch):
    world = World("a.tif", "a.png", "a.jpg")
    assert world.enrol(batch) == Enrolled(new=1, clashes=2)
    world.output = lambda name: "elsewhere.png"
    assert world.enrol(batch, "a.tif") == Enrolled(waiting=1)
    assert batch.entry("a.png").state == "queued"
    assert "as a.png is" in batch.entry("a.jpg").reason
    assert is_sound(batch.path) == Counts(queued=2, failed=1)


def test_an_output_elsewhere_is_not_ours_yet(batch, ended):
    assert batch.entry("a.tif").ours
    ended.suffix = "jpg"
    assert ended.enrol(batch, "a.tif") == Enrolled(changed=1)
    assert not batch.entry("a.tif").ours
    batch.mark_ours(["a.tif"])
    assert batch.entry("a.tif").ours


# What is asked


def test_pages_by_state(batch):
    world = World(*(f"{number}.png" for number in range(10)))
    world.enrol(batch)
    for entry in batch.claim(6):
        if entry.id % 2:
            batch.fail(entry.name, "odd")
        else:
            world.end(batch, entry.name)
    assert [e.id for e in batch.entries("failed", limit=2)] == [1, 3]
    assert [e.id for e in batch.entries("failed", after=3, limit=2)] == [5]
    assert [e.id for e in batch.entries(after=4, limit=3)] == [5, 6, 7]
    assert [e.id for e in batch.entries("done")] == [2, 4, 6]
    assert batch.counts() == Counts(queued=4, done=3, failed=3)


def test_queries_look_at_few_rows(batch):
    # Without statistics SQLite must choose the right index by itself, among a million rows.
    plans = {
        "SELECT * FROM pictures WHERE id > 5 AND state = 'done' ORDER BY id LIMIT 9": "states",
        "SELECT * FROM pictures WHERE name = 'a' AND state = 'running'": "autoindex",
        "SELECT * FROM pictures WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT 9": "ends",
        "SELECT * FROM pictures WHERE output IN ('a', 'b') AND clashes IS NULL": "holders",
        "SELECT * FROM pictures WHERE clashes IS NOT NULL": "clashing",
    }
    with closing(sqlite3.connect(batch.path)) as raw:
        for query, index in plans.items():
            [*steps] = (row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {query}"))
            assert index in steps[0]
            assert not any("TEMP B-TREE" in step for step in steps)


def test_the_pace_leaves_out_when_nothing_ran(batch, monkeypatch):
    World(*(f"{number}.png" for number in range(6))).enrol(batch)
    clock = iter([0.0, 60.0, 60.0, 120.0, 120.0, 180.0, 9000.0, 9060.0])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    paces = []
    for _ in range(4):
        [entry] = batch.claim(1)
        batch.fail(entry.name, "odd")
        paces.append(batch.recent_pace())
    assert paces == [None, None, 60.0, 60.0]
    assert batch.recent_pace(last=2) is None


def test_the_pace_of_two_at_once(batch, monkeypatch):
    World(*(f"{number}.png" for number in range(6))).enrol(batch)
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    for _ in range(3):
        pair = batch.claim(2)
        now[0] += 30.0
        batch.fail(pair[0].name, "odd")
        now[0] += 30.0
        batch.fail(pair[1].name, "odd")
    assert batch.recent_pace() == pytest.approx(5 / 150 * 3600)


def test_settings_and_root_are_kept(tmp_path):
    path = tmp_path / "manifest"
    with Manifest.create(path, Path("/old\udcff")) as made:
        assert made.latest_settings() is None
        made.keep_settings("one", {"a": [1, None], "file": "\udcff"})
        made.keep_settings("two", {})
        made.keep_settings("one", {"a": 2})
        assert made.root == Path("/old\udcff")
        made.root = Path("/new")
    with Manifest.create(path, Path("/ignored")) as again:
        assert again.root == Path("/new")
        assert again.latest_settings() == ("one", {"a": 2})
        assert again.settings("two") == {}
        with pytest.raises(LookupError, match="no settings three"):
            again.settings("three")


NAMES = st.text(st.characters(categories=None), max_size=9)


@given(NAMES, NAMES)
def test_any_name_is_stored_as_itself(one, other):
    assert restored(stored(one)) == one
    assert (stored(one) == stored(other)) == (one == other)


@pytest.mark.parametrize(
    "name", [os.fsdecode(b"caf\xe9/\xff\xfe.png"), "\ud800.png", "a\nb.png", "é.png", "'\";%?.png"]
)
def test_names_that_are_no_text(batch, name):
    world = World(name, name + ".tif")
    world.output = lambda name: "one" + os.fsdecode(b"\xff")
    assert world.enrol(batch) == Enrolled(new=1, clashes=1)
    assert [entry.name for entry in batch.claim(1)] == [name]
    world.end(batch, name)
    assert world.enrol(batch) == Enrolled(kept=1, clashes=1)
    assert batch.entry(name).done.content == world.content_of(name)
    reason = batch.entry(name + ".tif").reason
    assert reason.encode().decode() == reason
    assert len(reason.splitlines()) == 1


@given(st.integers(0, 2**63 - 1), st.integers(-(2**80), 2**80))
@settings(max_examples=20)
def test_stamps_of_any_time(size, changed):
    with tempfile.TemporaryDirectory() as folder:
        world = World("a.png")
        world.stamps["a.png"] = Stamp(size, changed)
        with Manifest.create(Path(folder) / "manifest", ROOT) as batch:
            batch.keep_settings("one", {})
            world.enrol(batch)
            assert batch.claim(1)[0].stamp == Stamp(size, changed)
            world.end(batch, "a.png")
            assert world.enrol(batch) == Enrolled(kept=1)
            assert world.read == []


# Transactions


@contextmanager
def undone(kind):
    """Expect the error that ends a transaction."""
    with pytest.raises(kind):
        yield


def test_a_transaction_is_all_or_nothing_also_within_another(batch):
    world = World("a.png", "b.png", "c.png")
    world.enrol(batch)
    with undone(KeyboardInterrupt), batch.transaction():
        batch.claim(2)
        raise KeyboardInterrupt
    assert batch.counts() == Counts(queued=3)
    with batch.transaction():
        batch.claim(1)
        with undone(ZeroDivisionError), batch.transaction():
            batch.claim(1)
            raise ZeroDivisionError
        with batch.transaction():
            world.end(batch, "a.png")
    assert batch.counts() == Counts(queued=2, done=1)
    assert is_sound(batch.path) == batch.counts()


def fill(batch, prefix, number):
    found = [Found(f"{prefix} {i}", f"{prefix} {i}", Stamp(1, 1)) for i in range(number)]
    return batch.enrol(found, "one", content_of=str, output_stamp_of={}.get)


def test_a_full_disk_is_told_and_nothing_is_half_written(batch):
    fill(batch, "before", 10)
    pages = batch._database.rows("PRAGMA page_count")[0][0]
    batch._database.run(f"PRAGMA max_page_count = {pages + 2}")
    for _ in range(2):
        with pytest.raises(
            RunError, match=r"cannot be written \(database or disk is full\)"
        ) as told:
            fill(batch, "after", 2000)
        assert str(batch.path) in str(told.value)
        assert isinstance(told.value.__cause__, sqlite3.OperationalError)
        assert batch.counts() == Counts(queued=10)
    assert is_sound(batch.path) == Counts(queued=10)
    batch._database.run("PRAGMA max_page_count = 100000")
    assert fill(batch, "after", 2000) == Enrolled(new=2000)
    assert len(batch.claim(3)) == 3


def test_nothing_follows_a_change_that_a_full_disk_undid(batch, monkeypatch):
    fill(batch, "before", 10)
    with undone(RunError), batch.transaction():
        batch.claim(1)
        batch._database._connection.execute("ROLLBACK")  # as SQLite does by itself
        for change in (lambda: batch.claim(1), lambda: fill(batch, "after", 9), batch.counts):
            with pytest.raises(RunError, match="an earlier change failed"):
                change()
    assert is_sound(batch.path) == Counts(queued=10)


@contextmanager
def longest_file(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 600, 5000, 40_000, 100_000])
def test_a_disk_that_takes_no_more_while_committing(batch, size):
    # A limit of the system stops the journal and the file itself, not only what SQLite counts.
    fill(batch, "before", 300)
    with longest_file(size), pytest.raises(RunError, match="cannot be written"):
        fill(batch, "after", 2000)
    assert batch.counts() == Counts(queued=300)
    assert is_sound(batch.path) == Counts(queued=300)
    assert fill(batch, "after", 2000) == Enrolled(new=2000)


# Processes that write, read, and are killed

WRITER = """
import sys, itertools
from pathlib import Path
from guided_dip.batch.entries import Done, Found, Stamp
from guided_dip.batch.manifest import Manifest

with Manifest.create(Path(sys.argv[1]), Path("/pictures")) as batch:
    batch.keep_settings("one", {})
    batch.requeue_running()
    print("ready", flush=True)
    for turn in range(int(sys.argv[2])):
        with batch.transaction():
            start = batch.counts().total
            found = [Found(f"{start + i}", f"{start + i}", Stamp(1, 1)) for i in range(70)]
            batch.enrol(found, "one", content_of=str, output_stamp_of={}.get)
            for entry in batch.claim(35):
                if entry.id % 5:
                    batch.finish(entry.name, Done("f", Stamp(1, 1), 1.0, 4, 3, 1))
                else:
                    batch.fail(entry.name, "odd")
"""


def writer(path, turns):
    command = [sys.executable, "-c", WRITER, str(path), str(turns)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def is_whole(counts):
    """Check that each transaction of the writer was made wholly or not at all."""
    assert counts.total % 70 == 0
    assert counts.queued == counts.total // 2
    assert counts.running == 0
    return counts.total


def test_a_killed_writer_leaves_whole_transactions(tmp_path):
    path, chance, totals, cut = tmp_path / "manifest", random.Random(0), [0], 0
    for _ in range(10):
        process = writer(path, 10**6)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
        cut += (tmp_path / "manifest-journal").exists()
        with Manifest.open(path, read_only=True) as reader:
            totals.append(is_whole(reader.counts()))
        assert is_sound(path).total == totals[-1]
    assert totals == sorted(totals)
    assert totals[-1] > 0
    assert cut > 0


def test_readers_see_whole_transactions_and_disturb_nobody(tmp_path):
    path, totals = tmp_path / "manifest", []
    process = writer(path, 150)
    assert process.stdout.readline() == "ready\n"
    while process.poll() is None:
        with Manifest.open(path, read_only=True) as reader:
            totals.append(is_whole(reader.counts()))
            page = reader.entries("done", limit=50)
            assert all(entry.done for entry in page)
    assert process.wait() == 0
    process.stdout.close()
    assert totals == sorted(totals)
    assert len(set(totals)) > 3
    assert is_whole(is_sound(path)) == 150 * 70


def test_a_writer_waits_for_a_slow_reader(batch, monkeypatch):
    monkeypatch.setattr(database, "TRY", 0.05)
    fill(batch, "some", 10)
    with Manifest.open(batch.path) as impatient:
        slow = sqlite3.connect(batch.path, isolation_level=None, check_same_thread=False)
        slow.execute("BEGIN")
        slow.execute("SELECT * FROM pictures").fetchone()
        timer = threading.Timer(0.5, slow.rollback)
        timer.start()
        began = time.monotonic()
        assert len(impatient.claim(3)) == 3
        assert time.monotonic() - began > 0.3
        timer.join()
        slow.execute("BEGIN")
        slow.execute("SELECT * FROM pictures").fetchone()
        monkeypatch.setitem(database.PATIENCE, "write", 0.1)
        with pytest.raises(RunError, match="is held by another program"):
            impatient.claim(3)
        slow.close()
        assert impatient.counts() == Counts(queued=7, running=3)
        assert len(impatient.claim(3)) == 3


def test_a_reader_waits_for_a_commit(batch, monkeypatch):
    monkeypatch.setattr(database, "TRY", 0.05)
    fill(batch, "some", 10)
    with Manifest.open(batch.path, read_only=True) as reader:
        other = sqlite3.connect(batch.path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(0.3, other.rollback)
        timer.start()
        assert reader.counts() == Counts(queued=10)
        timer.join()
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setitem(database.PATIENCE, "read", 0.1)
        with pytest.raises(RunError, match="is held by another program"):
            reader.counts()
        other.close()
        assert reader.counts() == Counts(queued=10)


def test_an_open_transaction_keeps_no_reader_out(batch):
    batch._database.run("PRAGMA cache_size = 10")  # pages, many fewer than are changed
    with batch.transaction():
        fill(batch, "many", 6000)
        with Manifest.open(batch.path, read_only=True) as reader:
            assert reader.counts() == Counts()
    assert batch.counts() == Counts(queued=6000)


def test_who_reads_does_not_write(batch):
    fill(batch, "some", 3)
    before = batch.path.read_bytes()
    with Manifest.open(batch.path, read_only=True) as reader:
        with pytest.raises(RunError, match="was opened for reading"):
            reader.claim(1)
        assert reader.counts() == Counts(queued=3)
    assert batch.path.read_bytes() == before


def test_each_commit_is_on_the_disk_and_leaves_one_file(batch):
    fill(batch, "some", 3)
    assert batch._database.rows("PRAGMA synchronous") == [(2,)]
    assert batch._database.rows("PRAGMA journal_mode") == [("delete",)]
    assert [path.name for path in batch.path.parent.iterdir()] == ["manifest"]


# Files that are no manifest, and manifests that may not be used


def cut_within_a_commit(batch, folder):
    """Return a copy of a manifest as a writer leaves it that is killed while it writes the file."""
    path = folder / "manifest"
    with closing(sqlite3.connect(batch.path, isolation_level=None)) as raw:
        raw.execute("PRAGMA cache_size = 1")
        raw.execute("BEGIN")
        raw.execute("UPDATE pictures SET state = 'failed', reason = printf('%300d', id)")
        shutil.copy(batch.path, path)
        shutil.copy(f"{batch.path}-journal", f"{path}-journal")
        raw.execute("ROLLBACK")
    assert path.read_bytes() != batch.path.read_bytes()
    return path


def test_a_reader_undoes_what_a_killed_writer_left(batch, tmp_path):
    fill(batch, "some", 300)
    (tmp_path / "copy").mkdir()
    path = cut_within_a_commit(batch, tmp_path / "copy")
    with Manifest.open(path, read_only=True) as reader:
        assert reader.counts() == Counts(queued=300)
        assert all(entry.reason == "" for entry in reader.entries(limit=300))


@contextmanager
def somebody_else():
    """Be a user who may write nothing that is not theirs; the superuser may write everything."""
    before = os.getresuid()
    if 0 in before:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(*before)


@pytest.fixture
def locked_up(batch):
    """Two manifests in a folder that may only be read: one whole, one cut within a commit."""
    fill(batch, "some", 300)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cut").mkdir()
        cut_within_a_commit(batch, folder / "cut")
        shutil.copy(batch.path, folder / "manifest")
        places = [folder, folder / "cut"]
        for place in places:
            for path in place.glob("manifest*"):
                path.chmod(0o444)
            place.chmod(0o555)
        yield folder
        for place in places:
            place.chmod(0o755)


def test_a_manifest_that_may_only_be_read(locked_up):
    with somebody_else():
        with Manifest.open(locked_up / "manifest", read_only=True) as reader:
            assert reader.counts() == Counts(queued=300)
        for begin in (Manifest.open, lambda path: Manifest.create(path, ROOT)):
            with pytest.raises(InputError, match="is read-only; try another"):
                begin(locked_up / "manifest")
        with pytest.raises(InputError, match="was cut while it was written"):
            Manifest.open(locked_up / "cut" / "manifest", read_only=True)


def test_a_manifest_that_may_not_be_read(locked_up):
    (locked_up / "manifest").chmod(0)
    with somebody_else(), pytest.raises(InputError, match="cannot be read"):
        Manifest.open(locked_up / "manifest", read_only=True)


def test_places_without_a_manifest_are_named(tmp_path):
    for path in (tmp_path / "none", tmp_path / "nowhere" / "none", tmp_path):
        for read_only in (True, False):
            with pytest.raises(InputError, match="there is no manifest of a batch; try"):
                Manifest.open(path, read_only=read_only)
    with pytest.raises(InputError, match="there is no folder"):
        Manifest.create(tmp_path / "nowhere" / "none", ROOT)
    with pytest.raises(InputError, match="is a folder"):
        Manifest.create(tmp_path, ROOT)
    assert list(tmp_path.iterdir()) == []


def test_a_path_of_any_letters(tmp_path):
    path = tmp_path / os.fsdecode(b"a?mode=ro#%41 \xff")
    with Manifest.create(path, ROOT) as made:
        made.keep_settings("one", {})
    assert path.is_file()
    with Manifest.open(path, read_only=True) as again:
        assert again.latest_settings() == ("one", {})
        with pytest.raises(RunError) as told:
            again.requeue_running()
    assert str(told.value).encode()


def refused(path, match):
    """Check that a file is refused, in one line that names it, and left as it was."""
    before = path.read_bytes()
    openings = [
        lambda: Manifest.open(path),
        lambda: Manifest.open(path, read_only=True),
        lambda: Manifest.create(path, ROOT),
    ]
    for opening in openings:
        with pytest.raises(InputError, match=match) as told:
            opening()
        assert str(told.value).startswith(f"{path}: ")
        assert "; try " in str(told.value)
    assert path.read_bytes() == before


def test_files_of_others(tmp_path):
    path = tmp_path / "manifest"
    path.write_bytes(b"name,state\n" * 500)
    refused(path, r"is damaged, or no manifest \(file is not a database\)")
    path.unlink()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    refused(path, "is another program's database")


def test_another_format(batch):
    batch._database.run("PRAGMA user_version = 2")
    batch.close()
    refused(batch.path, "has format 2, and this program reads 1")


def test_an_empty_file_is_begun_anew(tmp_path):
    path = tmp_path / "manifest"
    path.touch()
    for read_only in (True, False):
        with pytest.raises(InputError, match="is empty: its batch was cut as it began; try"):
            Manifest.open(path, read_only=read_only)
    with Manifest.create(path, ROOT) as made:
        assert made.counts() == Counts()


def test_a_manifest_cut_short(batch):
    fill(batch, "some", 2000)
    batch.close()
    data = batch.path.read_bytes()
    batch.path.write_bytes(data[: len(data) // 2])
    refused(batch.path, "is damaged")


def use(path):
    """Do all that can be done with a manifest."""
    with Manifest.open(path) as batch:
        batch.counts()
        str(batch.root)
        batch.latest_settings()
        batch.recent_pace()
        for state in (None, "queued", "done"):
            batch.entries(state, limit=500)
        fill(batch, "some", 400)
        batch.claim(20)
        batch.requeue_running()
        batch.retry_failed()


@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere_is_told_in_one_line(batch, ended, seed):
    fill(batch, "some", 300)
    batch.close()
    chance, data = random.Random(seed), bytearray(batch.path.read_bytes())
    for _ in range(60):
        at = chance.randrange(100, len(data) - 30)
        data[at : at + 20] = chance.randbytes(20)
    batch.path.write_bytes(data)
    with pytest.raises((InputError, RunError)) as told:
        use(batch.path)
    assert str(told.value).startswith(f"{batch.path}: ")
    assert len(str(told.value).splitlines()) == 1


# Manifests joined


@pytest.fixture
def shard(tmp_path):
    with Manifest.create(tmp_path / "shard", ROOT) as made:
        made.keep_settings("one", {"effort": "fast"})
        made.keep_settings("elsewhere", {"effort": "there"})
        yield made


def states(batch):
    return {entry.name: entry.state for entry in batch.entries()}


def test_the_more_finished_one_wins(batch, shard):
    names = [f"{here} {there}" for here in "qrfd" for there in "qrfd-"]
    world = World(*names, "q only here")
    world.output = str

    def bring(made, place, known):
        world.enrol(made, *known, settings="one" if made is batch else "elsewhere")
        left = {e.name: e.name.split()[place] for e in made.claim(99)}
        made.requeue([name for name, to in left.items() if to == "q"], counted=True)
        world.end(made, *(name for name, to in left.items() if to == "d"))
        for name in (name for name, to in left.items() if to == "f"):
            made.fail(name, "odd " + ["here", "there"][place])

    bring(batch, 0, [*names, "q only here"])
    both = [name for name in names if "-" not in name]
    world.contents |= dict.fromkeys(("- q", "- r", "- f", "- d"), b"x")
    bring(shard, 1, [*both, "- q", "- r", "- f", "- d"])
    # Of two that have ended alike the later one, theirs; and what is new.
    taken = {"q f", "q d", "f d", "f f", "d d", "- q", "- r", "- f", "- d"}
    assert batch.absorb(shard.path) == len(taken)
    expected = {"q": "queued", "r": "running", "f": "failed", "d": "done"}
    for entry in batch.entries():
        here, there = entry.name.split()[:2]
        winner = there if entry.name in taken else here
        wanted = "queued" if entry.name == "- r" else expected[winner]
        assert entry.state == wanted, entry.name
        assert entry.settings == ("elsewhere" if entry.name in taken else "one")
        is_legal(entry)
    assert batch.entry("f f").reason == "odd there"
    assert batch.settings("elsewhere") == {"effort": "there"}
    assert batch.latest_settings()[0] == "two"
    before = batch.entries(limit=999)
    assert batch.absorb(shard.path) == 0
    assert batch.absorb(batch.path) == 0
    assert batch.entries(limit=999) == before
    assert is_sound(batch.path) == batch.counts()


def test_what_clashes_with_another_shard_fails(batch, shard):
    world = World("a.tif", "a.png", "b.png", "b.tif")
    world.enrol(batch, "a.tif", "b.png", "b.tif")
    world.enrol(shard, "a.png", "b.tif", "b.png")
    shard.claim(1)
    world.end(shard, "a.png")
    assert batch.absorb(shard.path) == 1
    assert states(batch) == {
        "a.tif": "queued",
        "b.png": "queued",
        "b.tif": "failed",
        "a.png": "failed",
    }
    assert "as a.tif is" in batch.entry("a.png").reason
    assert batch.absorb(shard.path) == 0
    assert is_sound(batch.path) == batch.counts()


def test_an_output_that_was_left_elsewhere_is_free_here(batch, shard):
    world = World("a.tif", "a.png")
    assert world.enrol(batch) == Enrolled(new=1, clashes=1)
    world.output = str
    world.enrol(shard, "a.tif")
    shard.claim(1)
    world.end(shard, "a.tif")
    assert batch.absorb(shard.path) == 1
    assert states(batch) == {"a.tif": "done", "a.png": "queued"}


def test_shards_of_one_list_join_to_the_whole(batch, tmp_path):
    world = World(*(f"{number}.png" for number in range(1300)))
    for part in range(3):
        with Manifest.create(tmp_path / f"shard {part}", ROOT) as shard:
            shard.keep_settings("one", {})
            world.enrol(shard, *list(world.contents)[part::3])
            with shard.transaction():
                world.end(shard, *(entry.name for entry in shard.claim(999)))
    world.enrol(batch)
    assert sum(batch.absorb(tmp_path / f"shard {part}") for part in range(3)) == 1300
    assert batch.counts() == Counts(done=1300)
    assert world.enrol(batch) == Enrolled(kept=1300)


def test_a_manifest_of_other_pictures_is_not_absorbed(batch, tmp_path):
    with Manifest.create(tmp_path / "shard", Path("/others")):
        pass
    with pytest.raises(InputError, match="has its pictures in /others, not in /pictures; try"):
        batch.absorb(tmp_path / "shard")
    with pytest.raises(InputError, match="there is no manifest"):
        batch.absorb(tmp_path / "none")


# Whatever is done in whatever order


class Batch(RuleBasedStateMachine):
    """A batch whose pictures change while they are restored with settings that change."""

    names = ("a.tif", "a.png", "b.tif", "c.png", "d/a.tif", "d/a.png")
    some = st.lists(st.sampled_from(names), max_size=4)

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "manifest"
        self.world = World(*self.names)
        self.batch = Manifest.create(self.path, ROOT)
        self.batch.keep_settings("one", {})
        self.batch.keep_settings("two", {})
        self.time = 1

    def teardown(self):
        self.batch.close()
        self.folder.cleanup()

    def running(self):
        return [entry.name for entry in self.batch.entries("running")]

    @rule(names=some, content=st.sampled_from([None, b"first", b"second"]))
    def change(self, names, content):
        self.time += 1
        for name in names:
            self.world.stamps[name] = Stamp(5, self.time)
            if content is not None:
                self.world.contents[name] = content

    @rule(names=some)
    def lose_outputs(self, names):
        for name in names:
            self.world.written.pop(self.world.output(name), None)

    @rule(suffix=st.sampled_from(["png", "jpg"]))
    def be_written_elsewhere(self, suffix):
        self.world.suffix = suffix

    @rule(
        names=some,
        digest=st.sampled_from(["one", "two"]),
        overwrite=st.booleans(),
        chunk=st.sampled_from([1, 2, 500]),
    )
    def enrol(self, names, digest, overwrite, chunk):
        before = {entry.name: entry for entry in self.batch.entries()}
        manifest.CHUNK = chunk
        try:
            enrolled = self.world.enrol(
                self.batch, *dict.fromkeys(names), settings=digest, overwrite=overwrite
            )
        finally:
            manifest.CHUNK = enrolment.CHUNK
        found = set(names or self.names)
        assert sum(asdict(enrolled).values()) == len(found)
        after = {name: self.batch.entry(name) for name in found}
        for name, entry in after.items():
            if entry.state == "running":
                assert entry == before[name]
                continue
            assert entry.settings == digest
            assert entry.output == self.world.output(name)
            assert entry.stamp == self.world.stamps[name]
            if entry.state == "done":
                assert not overwrite
                assert entry.done.content == self.world.content_of(name)
                assert entry.done.stamp == self.world.written[entry.output]
                assert entry == replace(before[name], stamp=entry.stamp)
        waits = sum(entry.state in ("queued", "running") for entry in after.values())
        assert waits == enrolled.new + enrolled.changed + enrolled.waiting

    @rule(limit=st.integers(0, 4))
    def claim(self, limit):
        queued = self.batch.entries("queued")
        claimed = self.batch.claim(limit)
        assert [e.name for e in claimed] == [e.name for e in queued[:limit]]
        assert claimed == [self.batch.entry(e.name) for e in claimed]

    @rule(number=st.integers(0, 3), well=st.booleans())
    def end(self, number, well):
        with self.batch.transaction():
            for name in self.running()[:number]:
                if well:
                    self.world.end(self.batch, name)
                else:
                    self.batch.fail(name, "odd")

    @rule(names=some, counted=st.booleans())
    def requeue(self, names, counted):
        hit = set(names) & set(self.running())
        before = {name: self.batch.entry(name).attempts for name in hit}
        self.batch.requeue(names, counted=counted)
        for name in hit:
            assert self.batch.entry(name).state == "queued"
            assert self.batch.entry(name).attempts == before[name] - (not counted)

    @rule()
    def retry(self):
        clashes = sum(e.reason.startswith("would be") for e in self.batch.entries("failed"))
        failed = self.batch.counts().failed
        assert self.batch.retry_failed() == failed - clashes
        assert self.batch.counts().failed == clashes

    @rule()
    def fail_within_a_transaction(self):
        before = self.batch.entries()
        with undone(ZeroDivisionError), self.batch.transaction():
            self.batch.claim(3)
            self.batch.retry_failed()
            raise ZeroDivisionError
        assert self.batch.entries() == before

    @rule()
    def be_killed_and_go_on(self):
        running = self.running()
        self.batch.close()
        self.batch = Manifest.open(self.path)
        assert self.batch.requeue_running() == len(running)

    @invariant()
    def all_is_well(self):
        assert is_sound(self.path) == self.batch.counts()
        entries = self.batch.entries()
        assert [entry.id for entry in entries] == list(range(1, len(entries) + 1))
        for entry in entries:
            is_legal(entry)
        held = [e.output for e in entries if e.began or e.state != "failed"]
        assert len(held) == len(set(held))


TestWhateverIsDone = Batch.TestCase
TestWhateverIsDone.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)


def test_importing_it_loads_nothing_heavy():
    code = "import sys, guided_dip.batch.manifest; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pydantic"} & set(run.stdout.split())


def test_what_is_withdrawn_is_forgotten_and_lets_others_go_on(tmp_path):
    with Manifest.create(tmp_path / "manifest.sqlite", ROOT) as batch:
        batch.keep_settings("one", {})
        world = World("a.tif", "a.jpg", "b.tif")
        world.enrol(batch, "a.tif", "a.jpg", "b.tif")
        assert batch.entry("a.jpg").state == "failed"
        assert batch.queued(None) == 2
        assert batch.has_queued(None)
        batch.claim(1)
        batch.withdraw(["a.tif", "never.tif"])
        assert batch.entry("a.tif") is None
        assert batch.entry("a.jpg").state == "queued"  # as nobody has its output any more
        assert batch.counts() == Counts(queued=2)
        batch.withdraw(["a.jpg", "b.tif"])
        assert batch.counts() == Counts()
        assert not batch.has_queued(None)
        assert world.enrol(batch, "a.tif").new == 1
