"""The loop of a batch: every picture comes to one end, whatever is heard of it, and when."""

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guided_dip.batch import coordinator as coordinating
from guided_dip.batch.coordinator import Coordinator
from guided_dip.batch.entries import Counts, Done, Found, Stamp
from guided_dip.batch.find import stamp_of
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.pace import Pace
from guided_dip.batch.place import Place
from guided_dip.batch.progress import Ending, Requests, Rules, requests
from guided_dip.batch.work import Event
from guided_dip.errors import InputError
from guided_dip.jobs import stop as stopping
from guided_dip.workers import Bell


class Batch:
    """A batch whose pictures are empty files."""

    def __init__(self, folder):
        self.root, self.place = folder / "in", Place(folder / "out")
        self.root.mkdir()
        self.place.folder.mkdir(parents=True)
        self.manifest = Manifest.create(self.place.manifest, self.root)
        self.manifest.keep_settings("one", {})

    def enrol(self, *names):
        for name in names:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).touch()
        found = [Found(name, name, stamp_of(self.root / name)) for name in names]
        return self.manifest.enrol(
            found,
            "one",
            content_of=lambda name: "content",
            output_stamp_of=lambda output: stamp_of(self.place.output(output)),
        )

    def coordinator(self, executor, on_progress=None, settings="one", more=None, **rules):
        return Coordinator(
            self.manifest,
            settings,
            executor,
            self.place,
            Rules(**rules),
            on_progress or (lambda _: None),
            **(more or {}),
        )

    def run(self, executor, asked=None, on_progress=None, **rules):
        return self.coordinator(executor, on_progress, **rules).run(asked or Requests())

    def states(self):
        return {entry.name: entry.state for entry in self.manifest.entries()}

    def reason(self, name):
        return self.manifest.entry(name).reason


@pytest.fixture
def batch(tmp_path):
    made = Batch(tmp_path)
    yield made
    made.manifest.close()


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch):
    monkeypatch.setattr(coordinating, "TURN", 0.01)
    monkeypatch.setattr(coordinating, "NAP", 0.0)


def done(item):
    """Do what a job does that ends well."""
    if item.output.exists() and not item.ours:
        return Event("failed", item.name, f"{item.output}: exists already")
    item.output.parent.mkdir(parents=True, exist_ok=True)
    item.output.write_text(f"restored {item.name}")
    came = Done("content", stamp_of(item.output), 1.0, 8, 8, 3)
    return Event("done", item.name, share=1.0, done=came)


def lost(item):
    return Event("lost", item.name, "its process was killed by signal 9")


class Scripted:
    """An executor that says of each item what a function has it say, an event a wait."""

    def __init__(self, says=done, workers=1, lagging=False):
        self.says, self.workers, self.lagging = says, workers, lagging
        self.groups, self.pending, self.ended = [], [], []
        self.stops = 0
        self.tired = 0

    def room(self):
        return self.workers - len(self.pending) - self.tired

    def submit(self, items):
        assert self.room() > 0, "more is given out than there is room for"
        assert items
        running = [item.name for group in self.pending for item in group]
        assert not {item.name for item in items} & set(running), "given out twice"
        self.groups.append([item.name for item in items])
        self.pending.append(list(items))

    def wait(self, seconds):
        self.tired = 0
        if not self.pending:
            return []
        events = []
        for group in self.pending:
            said = Event("cut", group[0].name) if self.stops else self.says(group[0])
            said = [said] if isinstance(said, Event) else list(said)
            events += said
            if said and said[-1].kind not in ("begun", "step"):
                group.pop(0)
        full = len(self.pending)
        self.pending = [group for group in self.pending if group]
        # As a process that has told of its last picture, and has not yet said that it waits.
        self.tired = full - len(self.pending) if self.lagging else 0
        return events

    def end(self, name):
        self.ended.append(name)
        groups = [[item for item in group if item.name != name] for group in self.pending]
        self.pending = [group for group in groups if group]

    def stop(self):
        self.stops += 1

    def close(self):
        pass

    def given(self):
        return [name for group in self.groups for name in group]


# Ends of pictures


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("lagging", [False, True])
def test_all_are_given_out_once_and_done(batch, workers, together, lagging):
    names = [f"{number}.png" for number in range(7)]
    batch.enrol(*names)
    executor = Scripted(workers=workers, lagging=lagging)
    ending = batch.run(executor, together=together)
    assert ending == Ending(Counts(done=7), done=7, failed=0)
    assert sorted(executor.given()) == names
    assert all(len(group) <= together for group in executor.groups)
    assert batch.states() == dict.fromkeys(names, "done")
    assert executor.stops == 0


def test_nothing_to_do_is_an_end_at_once(batch):
    assert batch.run(Scripted()) == Ending(Counts(), 0, 0)


def test_one_that_fails_is_written_down_and_stops_no_other(batch):
    batch.enrol("a.png", "b.png", "c.png")

    def says(item):
        return Event("failed", item.name, "is\ntorn") if item.name == "b.png" else done(item)

    ending = batch.run(Scripted(says))
    assert (ending.counts, ending.done, ending.failed) == (Counts(done=2, failed=1), 2, 1)
    assert batch.reason("b.png") == "is torn"
    assert not ending.failed_fast


def test_one_that_fails_stops_the_others_if_that_is_wanted(batch):
    batch.enrol(*(f"{number}.png" for number in range(6)))

    def says(item):
        if item.name == "1.png":
            return Event("failed", item.name, "torn")
        return Event("step", item.name, share=0.5) if item.name == "2.png" else done(item)

    executor = Scripted(says, workers=3)
    ending = batch.run(executor, fail_fast=True)
    assert ending.failed_fast
    assert executor.stops == 1
    assert batch.states()["2.png"] == "queued"  # it was cut
    assert ending.counts == Counts(queued=4, done=1, failed=1)
    assert all(batch.manifest.entry(f"{number}.png").attempts == 0 for number in (2, 3, 4, 5))


def test_a_picture_that_ends_its_process_again_and_again_fails_in_the_end(batch):
    batch.enrol("a.png", "b.png")
    executor = Scripted(lambda item: lost(item) if item.name == "a.png" else done(item))
    ending = batch.run(executor, attempts=3)
    assert Counter(executor.given()) == {"a.png": 3, "b.png": 1}
    assert ending.counts == Counts(done=1, failed=1)
    assert batch.reason("a.png") == (
        "begun 3 times; the last time its process was killed by signal 9"
    )


def test_a_picture_that_ends_its_process_takes_no_other_of_its_group_along(batch):
    names = [f"{number}.png" for number in range(8)]
    batch.enrol(*names)

    class Dying(Scripted):
        """Whose process ends with all of a group if one picture is in it."""

        def wait(self, seconds):
            events, pending = [], self.pending
            self.pending = []
            for group in pending:
                dies = any(item.name == "2.png" for item in group)
                events += [lost(item) if dies else done(item) for item in group]
            return events

    executor = Dying(workers=2)
    ending = batch.run(executor, together=4, attempts=3)
    assert ending.counts == Counts(done=7, failed=1)
    assert batch.states()["2.png"] == "failed"
    again = [group for group in executor.groups if group[0] in ("0.png", "1.png", "2.png", "3.png")]
    assert sorted(len(group) for group in again) == [1, 1, 1, 1, 1, 4]


def test_a_picture_that_is_lost_now_and_then_is_done(batch):
    batch.enrol("a.png")
    ends = iter([lost, lost, done])
    ending = batch.run(Scripted(lambda item: next(ends)(item)), attempts=4)
    assert ending == Ending(Counts(done=1), 1, 0)
    assert batch.manifest.entry("a.png").attempts == 3


def test_what_is_cut_by_somebody_else_is_begun_again_and_counts_as_no_attempt(batch):
    batch.enrol("a.png")
    ends = iter([*[lambda item: Event("cut", item.name)] * 9, done])
    ending = batch.run(Scripted(lambda item: next(ends)(item)), attempts=2)
    assert ending.counts == Counts(done=1)
    assert batch.manifest.entry("a.png").attempts == 1


def test_a_full_disk_stops_all_and_keeps_all(batch):
    batch.enrol(*(f"{number}.png" for number in range(5)))

    def says(item):
        if item.name == "0.png":
            return Event("stuck", item.name, "no space left")
        return Event("step", item.name, share=0.2)

    executor = Scripted(says, workers=2)
    ending = batch.run(executor)
    assert ending == Ending(Counts(queued=5), 0, 0, stuck="no space left")
    assert executor.stops == 1
    assert executor.given() == ["0.png", "1.png"]
    assert batch.run(Scripted()).counts == Counts(done=5)


def test_what_is_said_of_others_or_twice_is_of_no_account(batch):
    batch.enrol("a.png", "b.png")

    def says(item):
        end = done(item)
        strange = [Event("done", "never.png", done=end.done), Event("step", "x", share=1.0)]
        return [*strange, Event("failed", "y.png", "z"), end, lost(item), end]

    ending = batch.run(Scripted(says))
    assert ending == Ending(Counts(done=2), 2, 0)


# Outputs


def test_a_file_that_is_not_ours_stays_and_the_picture_fails(batch):
    batch.enrol("a.png", "b.png")
    batch.place.output("a.png").write_bytes(b"precious")
    before = stamp_of(batch.place.output("a.png"))
    ending = batch.run(Scripted())
    assert ending.counts == Counts(done=1, failed=1)
    assert "exists already" in batch.reason("a.png")
    assert batch.place.output("a.png").read_bytes() == b"precious"
    assert stamp_of(batch.place.output("a.png")) == before
    # Nor is it ours in a later call.
    batch.manifest.retry_failed()
    assert batch.run(Scripted()).failed == 1
    assert batch.place.output("a.png").read_bytes() == b"precious"


def test_it_gives_way_if_it_may_be_replaced(batch):
    batch.enrol("a.png")
    batch.place.output("a.png").write_bytes(b"precious")
    assert batch.run(Scripted(), overwrite=True).counts == Counts(done=1)
    assert batch.place.output("a.png").read_bytes() == b"restored a.png"


def test_what_a_killed_process_had_written_is_ours(batch):
    batch.enrol("a.png")

    def written_then_killed(item):
        done(item)
        return lost(item)

    ends = iter([written_then_killed, done])
    assert batch.run(Scripted(lambda item: next(ends)(item))).counts == Counts(done=1)


@pytest.mark.parametrize("outdir", ["in", "."])
def test_nothing_is_written_among_the_sources(batch, outdir, tmp_path):
    names = [f"in/{number}.png" for number in range(5)] if outdir == "." else ["0.png", "1.png"]
    batch.enrol(*names)
    batch.place = Place(Path(os.path.normpath(tmp_path / outdir)))
    executor = Scripted()
    ending = batch.run(executor)
    assert executor.groups == []
    assert ending.counts == Counts(failed=len(names))  # all of them, not only as many as had room
    assert all("is among the sources; try another OUTDIR" in batch.reason(name) for name in names)


def test_an_outdir_within_the_root_is_none_of_the_sources(batch):
    batch.enrol("a.png")
    batch.place = Place(batch.root / "out")
    assert batch.run(Scripted()).counts == Counts(done=1)
    assert (batch.root / "out" / "a.png").is_file()


def test_a_name_that_is_too_long_stops_no_other(batch):
    batch.enrol("a.png", "b.png")
    long = f"{'x' * 300}.png"
    found = [Found("b.png", long, stamp_of(batch.root / "b.png"))]
    batch.manifest.enrol(found, "one", content_of=str, output_stamp_of=lambda _: None)

    def says(item):
        if item.name == "b.png":
            return Event("failed", item.name, "File name too long")
        return done(item)

    assert batch.run(Scripted(says)).counts == Counts(done=1, failed=1)


# What the user asks for


def test_the_first_interrupt_drains_the_second_stops_and_the_third_ends():
    asked = Requests()
    asked.note(signal.SIGINT)
    assert (asked.drain, asked.stop, asked.signal) == (True, False, signal.SIGINT)
    asked.note(signal.SIGINT)
    assert (asked.drain, asked.stop) == (True, True)
    with pytest.raises(KeyboardInterrupt):
        asked.note(signal.SIGINT)


def test_sigterm_stops_at_once_and_again_and_again():
    asked = Requests()
    for _ in range(3):
        asked.note(signal.SIGTERM)
        assert (asked.drain, asked.stop, asked.signal) == (True, True, signal.SIGTERM)
    drained = Requests()
    drained.note(signal.SIGINT)
    drained.note(signal.SIGTERM)
    assert (drained.stop, drained.signal) == (True, signal.SIGTERM)


def test_signals_are_noted_while_it_runs_and_as_before_after_it():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    with requests() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.stop
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == before


def test_signals_that_are_ignored_stay_so_and_threads_set_none():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with requests() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert not asked.drain
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere():
        with requests() as asked:
            seen.append(asked.drain)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False]


def test_what_was_begun_is_finished_when_it_drains(batch):
    batch.enrol(*(f"{number}.png" for number in range(5)))
    asked, steps = Requests(), Counter()

    def says(item):
        steps[item.name] += 1
        if steps[item.name] == 1:
            if not asked.drain:
                asked.note(signal.SIGINT)
            return Event("step", item.name, share=0.5)
        return done(item)

    seen = []
    executor = Scripted(says, workers=2)
    ending = batch.run(executor, asked, seen.append)
    assert ending == Ending(Counts(queued=3, done=2), 2, 0, signal=signal.SIGINT)
    assert executor.stops == 0
    assert any(now.draining for now in seen)
    assert not any(now.stopping for now in seen)


def test_what_was_begun_keeps_its_place_when_it_stops(batch):
    batch.enrol(*(f"{number}.png" for number in range(5)))
    asked = Requests()

    def says(item):
        asked.note(signal.SIGTERM)
        return Event("step", item.name, share=0.5)

    seen = []
    executor = Scripted(says, workers=2)
    ending = batch.run(executor, asked, seen.append)
    assert ending == Ending(Counts(queued=5), 0, 0, signal=signal.SIGTERM)
    assert executor.stops == 1
    assert seen[-1].stopping
    assert {entry.attempts for entry in batch.manifest.entries()} == {0}


def test_what_is_killed_or_done_while_it_stops_is_written_down_as_such(batch):
    batch.enrol("a.png", "b.png", "c.png")
    asked = Requests()

    class Stopping(Scripted):
        def wait(self, seconds):
            if not self.stops:
                asked.note(signal.SIGTERM)
                return []
            items, self.pending = [group[0] for group in self.pending], []
            failed = [Event("failed", item.name, "torn") for item in items[2:]]
            return [lost(item) for item in items[:1]] + [done(item) for item in items[1:2]] + failed

    ending = batch.run(Stopping(workers=3), asked, attempts=1)
    assert batch.states() == {"a.png": "queued", "b.png": "done", "c.png": "failed"}
    assert (ending.done, ending.failed) == (1, 1)


def test_who_does_not_stop_is_waited_for_only_so_long(batch, monkeypatch):
    monkeypatch.setattr(coordinating, "PATIENCE", 0.2)
    batch.enrol("a.png", "b.png")
    asked = Requests()

    class Deaf(Scripted):
        def wait(self, seconds):
            asked.drain = asked.stop = True
            time.sleep(0.01)
            return [Event("step", "a.png", share=0.1)]

    began = time.monotonic()
    ending = batch.run(Deaf(workers=2), asked)
    assert 0.2 <= time.monotonic() - began < 5
    assert ending.counts == Counts(queued=2)


def test_a_third_interrupt_leaves_a_manifest_that_can_be_gone_on_with(batch):
    batch.enrol("a.png")
    asked = Requests()

    def says(item):
        asked.note(signal.SIGINT)
        return Event("step", item.name, share=0.5)

    class Deaf(Scripted):
        def wait(self, seconds):
            return [says(group[0]) for group in self.pending]

    with pytest.raises(KeyboardInterrupt):
        batch.run(Deaf(), asked)
    assert batch.states() == {"a.png": "running"}
    assert batch.manifest.requeue_running() == 1
    assert batch.run(Scripted()).counts == Counts(done=1)


# Folders that are watched


def test_pictures_that_come_later_are_done_until_it_is_to_end(batch):
    batch.enrol("0.png")
    asked, looks, seen = Requests(), [], []

    def look():
        looks.append(time.monotonic())
        if len(looks) <= 3:
            batch.enrol(*(f"{number}.png" for number in range(len(looks) + 1)))
        elif len(looks) == 6:
            asked.note(signal.SIGINT)

    executor = Scripted()
    ending = batch.run(executor, asked, seen.append, look=look, look_every=0.02)
    assert ending == Ending(Counts(done=4), 4, 0, signal=signal.SIGINT)
    assert executor.given() == [f"{number}.png" for number in range(4)]
    assert len(looks) == 6
    assert min(b - a for a, b in pairwise(looks)) >= 0.02
    assert any(now.watching for now in seen)
    assert not seen[0].watching or seen[0].counts.done == 1


# How it goes


def test_numbers_are_of_this_call_s_work(monkeypatch):
    pace = Pace()
    assert pace.per_second(0.0) is None
    pace.begin("a", 10.0)
    pace.begin("b", 10.0)
    assert pace.per_second(20.0) is None
    pace.reach("a", 0.0)
    pace.reach("b", 0.9)  # from an earlier call
    assert pace.per_second(20.0) is None
    pace.reach("a", 0.5)
    pace.reach("b", 0.95)
    assert pace.per_second(20.0) == pytest.approx(0.055)
    assert pace.left(4) == pytest.approx(4 - 1.45)
    pace.end("a", 30.0, counted=True)
    pace.end("b", 30.0, counted=True)
    assert pace.per_second(30.0) == pytest.approx(1.1 / 20)
    assert pace.per_second(9000.0) == pytest.approx(1.1 / 20)  # nothing was there to be done
    pace.begin("c", 9000.0)
    assert pace.per_second(9020.0) == pytest.approx(1.1 / 40)
    pace.reach("c", 0.0)
    pace.reach("c", 0.9)
    pace.end("c", 9020.0, counted=False)  # lost
    assert pace.per_second(9020.0) == pytest.approx(1.1 / 40)
    pace.end("never begun", 9020.0, counted=True)
    pace.reach("never begun", 1.0)
    assert pace.left(0) == 0
    assert pace.per_second(9020.0) == pytest.approx(1.1 / 40)


def test_progress_is_told_all_the_time_and_makes_sense(batch, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(coordinating.time, "monotonic", lambda: clock[0])
    batch.enrol(*(f"{number}.png" for number in range(10)))
    shares = Counter()

    def says(item):
        clock[0] += 6.0  # a tenth of a minute for a quarter of a picture
        shares[item.name] += 1
        if shares[item.name] <= 4:
            return Event("step", item.name, share=(shares[item.name] - 1) / 4)
        return done(item)

    seen = []
    batch.run(Scripted(says), on_progress=seen.append)
    assert [now.counts.done for now in seen] == sorted(now.counts.done for now in seen)
    assert seen[0].per_hour is None
    for now in seen[1:]:
        assert now.counts.total == 10
        assert 60 <= now.per_hour <= 120  # a half-minute each, of which a step is not told of
        per_picture = 3600 / now.per_hour
        left = now.seconds_left / per_picture
        assert now.counts.left - now.counts.running <= left <= now.counts.left
    assert seen[-1].seconds_left == 0
    assert seen[-1].per_hour == pytest.approx(120)


# All together


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_picture_comes_to_one_end_whatever_happens(data, tmp_path_factory):
    batch = Batch(tmp_path_factory.mktemp("batch"))
    count = data.draw(st.integers(1, 8), "pictures")
    names = [f"{number}.png" for number in range(count)]
    foreign = data.draw(st.sets(st.sampled_from(names)), "outputs of others")
    for name in foreign:
        batch.place.output(name).write_bytes(b"precious")
    batch.enrol(*names)
    asked, ends = Requests(), Counter()
    kinds = ["done", "done", "done", "begun", "step", "failed", "lost", "cut", "stuck", "stop"]

    def says(item):
        entry = batch.manifest.entry(item.name)
        assert entry.state == "running"
        assert entry.attempts >= 1
        kind = data.draw(st.sampled_from(kinds), item.name)
        if kind == "stop":
            if not asked.stop:
                asked.note(data.draw(st.sampled_from([signal.SIGINT, signal.SIGTERM])))
            kind = "step"
        event = done(item) if kind == "done" else Event(kind, item.name, f"{kind} of it", 0.5)
        ends[item.name] += event.kind in ("done", "failed")
        return event

    def on_progress(now):
        counts = batch.manifest.counts()
        assert counts.total == count
        assert now.counts == counts
        assert now.per_hour is None or now.per_hour >= 0
        assert now.seconds_left is None or now.seconds_left >= 0
        for entry in batch.manifest.entries():
            assert (entry.state == "done") == (entry.done is not None)
            assert (entry.state == "failed") == bool(entry.reason)

    rules = {
        "together": data.draw(st.integers(1, 3), "together"),
        "attempts": data.draw(st.integers(1, 3), "attempts"),
        "fail_fast": data.draw(st.booleans(), "fail fast"),
    }
    executor = Scripted(says, data.draw(st.integers(1, 3), "workers"), data.draw(st.booleans()))
    try:
        ending = batch.run(executor, asked, on_progress, **rules)
        states = Counter(batch.states().values())
        assert ending.counts == Counts(**states)
        assert ending.counts.running == 0
        assert ending.done == states["done"]
        assert ending.failed == states["failed"]
        over = ending.done + ending.failed
        ended_early = asked.drain or ending.stuck or ending.failed_fast
        assert over == count or ended_early
        lost_for_good = ending.failed - sum(ends.values()) + ending.done
        assert lost_for_good >= 0  # else one would have come to two ends
        assert all(number <= 1 for number in ends.values())
        for name in foreign:
            assert batch.place.output(name).read_bytes() == b"precious"
        batch.manifest.retry_failed()
        ending = batch.run(Scripted(workers=2), overwrite=True)
        assert ending.counts == Counts(done=count)
    finally:
        batch.manifest.close()
    assert all(batch.place.output(name).read_text() == f"restored {name}" for name in names)


def test_a_stamp_is_that_of_the_output(batch):
    batch.enrol("a.png")
    batch.run(Scripted())
    written = batch.manifest.entry("a.png").done.stamp
    assert written == stamp_of(batch.place.output("a.png")) == Stamp(written.size, written.changed)


# Pictures one by one


def long(item):
    return Event("step", item.name, share=0.1)


@pytest.mark.parametrize("reason", [None, "took too long"])
def test_a_picture_that_is_ended_is_heard_of_no_more_and_no_other_notices(batch, reason):
    batch.enrol("a.png", "b.png")
    heard = []

    def on_event(event):
        heard.append((event.kind, event.name))
        if event.kind == "step" and event.name == "a.png":
            coordinator.end("a.png", reason)

    executor = Scripted(lambda item: long(item) if item.name == "a.png" else done(item), workers=2)
    coordinator = batch.coordinator(executor, more={"on_event": on_event})
    ending = coordinator.run(Requests())
    assert executor.ended == ["a.png"]
    assert executor.stops == 0
    if reason is None:
        assert ending.counts == Counts(done=1)
        assert batch.manifest.entry("a.png") is None
        assert heard[-1] == ("gone", "a.png")
    else:
        assert ending.counts == Counts(done=1, failed=1)
        assert batch.reason("a.png") == reason
        assert heard[-1] == ("failed", "a.png")
    assert heard[:2] == [("given", "a.png"), ("given", "b.png")]


def test_a_picture_that_is_queued_is_ended_without_being_begun(batch):
    batch.enrol("a.png", "b.png", "c.png")
    coordinator = batch.coordinator(Scripted())
    coordinator.end("b.png")
    coordinator.end("c.png", "is not running, so it has not taken long")
    coordinator.end("never.png")
    ending = coordinator.run(Requests())
    assert ending.counts == Counts(done=2)
    assert batch.manifest.entry("b.png") is None


def test_an_end_that_is_asked_for_elsewhere_wakes_the_loop(batch, monkeypatch):
    monkeypatch.setattr(coordinating, "TURN", 60.0)
    batch.enrol("a.png")
    bell, heard = Bell(), threading.Event()

    class Asleep(Scripted):
        def wait(self, seconds):
            heard.set()
            bell.wait(seconds)
            return []

    coordinator = batch.coordinator(Asleep(), more={"bell": bell})

    def end():
        assert heard.wait(30)
        coordinator.end("a.png")

    other = threading.Thread(target=end)
    other.start()
    before = time.monotonic()
    assert coordinator.run(Requests()).counts == Counts()
    assert time.monotonic() - before < 30
    other.join()


def test_a_bell_wakes_who_has_nothing_to_do(batch, monkeypatch):
    monkeypatch.setattr(coordinating, "TURN", 60.0)
    bell, asked = Bell(), Requests()

    def look():
        looks.append(time.monotonic())
        if len(looks) == 1:
            threading.Timer(0.05, bell.ring).start()
        else:
            asked.drain = True

    looks = []
    coordinator = batch.coordinator(
        Scripted(), more={"bell": bell}, look=look, look_every=0.0, settings=None
    )
    coordinator.run(asked)
    assert looks[1] - looks[0] < 30


def test_whatever_is_queued_is_carried_out_with_what_is_its_own(batch):
    batch.manifest.keep_settings("two", {})
    batch.enrol("a.png", "b.png")
    given = []

    def completed(item):
        if item.name == "b.png":
            raise InputError("cannot be restored")
        return replace(item, enough=Path("own"))

    def says(item):
        given.append(item)
        return done(item)

    heard = []
    more = {"completed": completed, "on_event": lambda event: heard.append(event.kind)}
    ending = batch.coordinator(Scripted(says), settings=None, more=more).run(Requests())
    assert ending == Ending(Counts(done=1, failed=1), 1, 1)
    assert [item.enough for item in given] == [Path("own")]
    assert batch.reason("b.png") == "cannot be restored"
    assert sorted(heard) == ["done", "failed", "given"]


def test_what_is_heard_has_been_written_down(batch):
    batch.enrol("a.png", "b.png")
    states = {}

    def on_event(event):
        states[event.name, event.kind] = batch.states()[event.name]

    ends = iter([lost, done, done])
    executor = Scripted(lambda item: next(ends)(item))
    batch.coordinator(executor, more={"on_event": on_event}).run(Requests())
    assert states["a.png", "given"] == "running"
    assert states["a.png", "lost"] == "queued"
    assert states["b.png", "done"] == "done"
