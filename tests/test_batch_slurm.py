"""Batches on Slurm, or on submitit's jobs of this machine: what they say, and how they end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guided_dip.batch.carry_out import carry_out
from guided_dip.batch.coordinator import Coordinator
from guided_dip.batch.entries import Done, Found, Stamp
from guided_dip.batch.executors import Crew, make_executor
from guided_dip.batch.find import stamp_of
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.place import Place
from guided_dip.batch.progress import Requests, Rules
from guided_dip.batch.slurm_job import Followed, Task, carry_out_task, event_of
from guided_dip.batch.slurm_queue import RefusedError
from guided_dip.batch.slurm_settings import settings_of
from guided_dip.batch.work import Event, Item, Orders
from guided_dip.config import make_config
from guided_dip.errors import InputError, RunError

pytest.importorskip("submitit")

from guided_dip.batch import on_slurm
from guided_dip.batch.on_slurm import SlurmExecutor

LOCAL = {"cluster": "local"}
DONE = Done("ab", Stamp(1, 2), 3.0, 4, 5, 1, 1, "gaussian:10", "a note")


def orders_of(steps: int) -> Orders:
    return Orders(make_config({"steps": steps, "threads": 1, "device": "cpu"}))


def place_of(folder: Path, name: str) -> Place:
    place = Place(folder / name)
    place.folder.mkdir(parents=True)
    return place


def items_of(folder: Path, place: Place, count: int) -> list[Item]:
    """Return noisy pictures, each other than the others."""
    sources = folder / "in"
    sources.mkdir(exist_ok=True)
    items = []
    for number in range(count):
        name = f"p{number}.png"
        noise = np.random.default_rng(number).normal(0, 20, (32, 32))
        Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8)).save(sources / name)
        items.append(
            Item(
                name,
                sources / name,
                place.output(name),
                place.work(name, ""),
                place.log(name),
                place.run(name),
            )
        )
    return items


def heard(executor: SlurmExecutor, until, seconds: float = 40.0) -> list[Event]:
    """Return what is said until something is so."""
    events: list[Event] = []
    end = time.monotonic() + seconds
    while not until(events):
        assert time.monotonic() < end, events
        events += executor.wait(0.5)
    return events


def ends(events: list[Event]) -> dict[str, str]:
    return {event.name: event.kind for event in events if event.kind not in ("begun", "step")}


def all_ended(count: int):
    return lambda events: len(ends(events)) == count


class Jobs:
    """A queue whose jobs are what a test says."""

    jobs = 10
    look_every = ask_every = ask_soon = grace = 0.0

    def __init__(self) -> None:
        self.arrays: list[list[Task]] = []
        self.states: dict[str, str] = {}
        self.asked: list[str] = []
        self.closed: list[str] = []
        self.refusal = ""

    def submit(self, tasks):
        if self.refusal:
            raise RefusedError(self.refusal)
        self.arrays.append(list(tasks))
        return [f"{len(self.arrays)}_{number}" for number in range(len(tasks))]

    def ended(self, jobs):
        return {job: self.states[job] for job in jobs if job in self.states}

    def ask_to_end(self, jobs):
        self.asked += jobs

    def close(self, jobs):
        self.closed += jobs

    def last_words(self, job):
        return "oom-kill"

    def tidy(self, job):
        pass


@pytest.fixture
def queue(monkeypatch):
    jobs = Jobs()
    monkeypatch.setattr(on_slurm, "make_queue", lambda *_, **__: jobs)
    return jobs


def say(task: Task, *lines: object) -> None:
    with task.events.open("a") as file:
        for line in lines:
            file.write(json.dumps(vars(line) if isinstance(line, Event) else line) + "\n")


def slurm(place: Place, **given) -> SlurmExecutor:
    given = {"jobs": None, "gpus": 0.0, "asked": LOCAL} | given
    return SlurmExecutor(orders_of(5), place, **given)


# --- jobs of this machine -------------------------------------------------------------------------


def test_jobs_give_the_same_bytes_as_processes_and_leave_no_files(tmp_path):
    place, other = place_of(tmp_path, "slurm"), place_of(tmp_path, "local")
    items = items_of(tmp_path, place, 2)
    executor = SlurmExecutor(orders_of(5), place, jobs=2, gpus=0, asked=LOCAL)
    executor.submit(items)
    assert executor.room() == 1
    events = heard(executor, all_ended(2))
    assert set(ends(events).values()) == {"done"}
    assert executor.wait(60) == []  # at once: there is nothing to wait for
    assert executor.room() == 2
    executor.close()
    assert not (place.folder / "slurm").exists()

    copies = items_of(tmp_path, other, 2)
    for item, copy in zip(items, copies, strict=True):
        carry_out([copy], orders_of(5), lambda _: None)  # as a process of `LocalExecutor` does
        assert copy.output.read_bytes() == item.output.read_bytes()
    done = [event.done for event in events if event.done is not None]
    assert {each.stamp for each in done} == {stamp_of(item.output) for item in items}


def test_a_job_that_is_killed_costs_a_try_of_the_picture_it_was_at(tmp_path):
    place = place_of(tmp_path, "out")
    items = items_of(tmp_path, place, 3)
    sources = items[0].source.parent
    orders = orders_of(20)
    with Manifest.create(place.manifest, sources) as manifest:
        manifest.keep_settings("settings", {})
        manifest.enrol(
            [Found(item.name, item.name, stamp_of(item.source)) for item in items],
            "settings",
            content_of=lambda name: "",
            output_stamp_of=lambda output: None,
        )
        executor = SlurmExecutor(orders, place, jobs=1, gpus=0, asked=LOCAL)
        seen: list[Event] = []
        killed: list[int] = []
        wait = executor.wait

        def wait_and_kill(seconds: float) -> list[Event]:
            events = wait(seconds)
            seen.extend(events)
            if not killed and any(event.kind == "begun" for event in events):
                killed.append(executor._jobs[0].process)
                os.kill(killed[0], signal.SIGKILL)
            return events

        executor.wait = wait_and_kill
        coordinator = Coordinator(manifest, "settings", executor, place, Rules(together=3))
        ending = coordinator.run(Requests())
        executor.close()
        assert (ending.done, ending.failed) == (3, 0)
    kinds = [(event.kind, event.name) for event in seen if event.kind in ("done", "lost")]
    assert sorted(kinds) == [("done", item.name) for item in items] + [("lost", items[0].name)]
    assert all(item.output.exists() for item in items)


def test_stopped_jobs_leave_checkpoints_and_end(tmp_path):
    place = place_of(tmp_path, "out")
    items = items_of(tmp_path, place, 3)
    executor = SlurmExecutor(orders_of(4000), place, jobs=1, gpus=0, asked=LOCAL)
    executor.submit(items[:2])
    heard(executor, lambda events: any(event.kind == "step" for event in events))
    executor.submit(items[2:])
    executor.stop()
    events = heard(executor, all_ended(3))
    assert set(ends(events).values()) == {"cut"}
    assert list(items[0].work.rglob("*"))
    executor.close()
    assert not items[0].output.exists()


def test_closing_ends_jobs_at_once(tmp_path):
    place = place_of(tmp_path, "out")
    executor = SlurmExecutor(orders_of(100_000), place, jobs=1, gpus=0, asked=LOCAL)
    executor.submit(items_of(tmp_path, place, 1))
    heard(executor, lambda events: any(event.kind == "begun" for event in events))
    process = executor._jobs[0].process
    began = time.monotonic()
    executor.close()
    assert time.monotonic() - began < 9
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


# --- the executor, without jobs -------------------------------------------------------------------


def test_what_is_submitted_in_one_turn_is_one_array(tmp_path, queue):
    place = place_of(tmp_path, "out")
    executor = slurm(place, jobs=7)
    for item in items_of(tmp_path, place, 5):
        executor.submit([item])
    assert executor.room() == 2
    assert executor.wait(0) == []
    assert [len(array) for array in queue.arrays] == [5]
    assert executor.room() == 2


def test_a_job_restores_its_pictures_one_by_one_or_as_many_as_it_may(tmp_path, queue):
    place = place_of(tmp_path, "out")
    items = items_of(tmp_path, place, 5)
    for together, sizes in ((1, [1, 1, 1, 1, 1]), (2, [2, 2, 1])):
        executor = slurm(place, together=together)
        executor.submit(items)
        executor.wait(0)
        assert [len(group) for group in queue.arrays[-1][0].groups] == sizes


@pytest.mark.parametrize(
    ("lines", "state", "told"),
    [
        # It never began: whoever is to blame, it must not go on for ever.
        ([], "FAILED", ["lost", "lost", "lost"]),
        ([{"pid": 1}], "FAILED", ["lost", "cut", "cut"]),
        ([{"pid": 1}, Event("begun", "p0.png")], "OUT_OF_MEMORY", ["lost", "cut", "cut"]),
        (
            [{"pid": 1}, Event("begun", "p0.png"), Event("begun", "p1.png")],
            "FAILED",
            ["lost", "lost", "cut"],
        ),
        ([{"pid": 1}, Event("failed", "p0.png")], "NODE_FAIL", ["failed", "lost", "cut"]),
        ([{"pid": 1}, Event("cut", "p0.png")], "PREEMPTED", ["cut", "cut", "cut"]),
        ([{"pid": 1}, {"over": True}], None, ["cut", "cut", "cut"]),
    ],
)
def test_what_becomes_of_pictures_whose_job_is_no_more(tmp_path, queue, lines, state, told):
    place = place_of(tmp_path, "out")
    executor = slurm(place)
    executor.submit(items_of(tmp_path, place, 3))
    executor.wait(0)
    say(queue.arrays[0][0], *lines)
    if state is not None:
        queue.states["1_0"] = state
    events = heard(executor, all_ended(3))
    assert [ends(events)[f"p{number}.png"] for number in range(3)] == told
    lost = [event for event in events if event.kind == "lost"]
    assert all(state in event.text and "oom-kill" in event.text for event in lost)
    assert executor.wait(60) == []
    executor.close()
    assert not list(place.folder.rglob("*.jsonl"))


def test_what_a_job_said_before_its_end_counts(tmp_path, queue):
    place = place_of(tmp_path, "out")
    executor = slurm(place)
    executor.submit(items_of(tmp_path, place, 1))
    executor.wait(0)
    queue.states["1_0"] = "COMPLETED"
    say(queue.arrays[0][0], {"pid": 1}, Event("done", "p0.png", share=1.0))
    events = heard(executor, all_ended(1))
    assert [event.kind for event in events] == ["done"]


def test_stopping_cuts_what_waits_and_asks_the_rest(tmp_path, queue):
    place = place_of(tmp_path, "out")
    items = items_of(tmp_path, place, 2)
    executor = slurm(place)
    executor.submit(items[:1])
    executor.wait(0)
    executor.submit(items[1:])
    executor.stop()
    assert queue.asked == ["1_0"]
    assert ends(executor.wait(0)) == {"p1.png": "cut"}
    queue.states["1_0"] = "CANCELLED"
    assert ends(heard(executor, all_ended(1))) == {"p0.png": "cut"}
    executor.close()
    assert not (place.folder / "slurm").exists()


def test_closing_takes_from_jobs_that_are_left_what_they_would_write_to(tmp_path, queue):
    place = place_of(tmp_path, "out")
    executor = slurm(place)
    executor.submit(items_of(tmp_path, place, 1))
    executor.wait(0)
    executor.close()
    assert queue.closed == ["1_0"]
    assert not queue.arrays[0][0].events.exists()


def test_a_later_call_takes_it_from_jobs_of_an_earlier_one(tmp_path, queue):
    place = place_of(tmp_path, "out")
    executor = slurm(place)
    executor.submit(items_of(tmp_path, place, 1))
    executor.wait(0)
    slurm(place)
    assert not queue.arrays[0][0].events.exists()


def test_a_refusal_is_an_error_before_the_first_job_and_patience_after_it(
    tmp_path, queue, monkeypatch
):
    place = place_of(tmp_path, "out")
    items = items_of(tmp_path, place, 2)
    executor = slurm(place)
    queue.refusal = "invalid partition"
    executor.submit(items[:1])
    with pytest.raises(InputError, match=r"no job was taken \(invalid partition\)") as error:
        executor.wait(0)
    assert "\n" not in str(error.value)
    assert not list(place.folder.rglob("*.jsonl"))

    executor, queue.refusal = slurm(place), ""
    executor.submit(items[:1])
    executor.wait(0)
    queue.refusal = "a quota is full"
    executor.submit(items[1:])
    executor.wait(0)
    assert executor.room() == queue.jobs - 2
    say(queue.arrays[-1][0], Event("done", "p0.png"), {"over": True})
    assert ends(executor.wait(0)) == {"p0.png": "done"}
    monkeypatch.setattr(on_slurm, "GIVE_UP", -1.0)
    executor._next_try = 0.0
    with pytest.raises(RunError, match="takes no more jobs"):
        executor.wait(0)


# --- what a job writes ----------------------------------------------------------------------------


def test_half_a_line_is_left_for_the_next_look(tmp_path):
    path = tmp_path / "events.jsonl"
    path.touch()
    followed = Followed(path)
    assert followed.lines() == []
    with path.open("a") as file:
        file.write('{"pid": 1}\n{"kind"')
        file.flush()
        assert followed.lines() == [{"pid": 1}]
        assert followed.lines() == []
        file.write(': "cut"}\n')
        file.flush()
        assert followed.lines() == [{"kind": "cut"}]


def test_a_line_that_was_never_written_to_its_end_is_left_out(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"pid": 1}\n{"kind": "do\n\n3\n{"over": true}\n')
    assert Followed(path).lines() == [{"pid": 1}, {"over": True}]
    assert Followed(tmp_path / "none").lines() == []


def test_events_come_back_as_they_were(tmp_path):
    place = place_of(tmp_path, "out")
    (item,) = items_of(tmp_path, place, 1)
    task = Task(tmp_path / "events.jsonl", ((item,),), orders_of(2))
    task.events.touch()
    carry_out_task(task)
    lines = Followed(task.events).lines()
    assert lines[0] == {"pid": os.getpid()}
    assert lines[-1] == {"over": True}
    events = [event for line in lines if (event := event_of(line)) is not None]
    assert events[0] == Event("begun", item.name)
    assert (events[1].kind, events[1].at.step, events[1].at.steps) == ("step", 1, 2)
    assert events[-1].kind == "done"
    assert events[-1].done is not None
    assert events[-1].done.stamp == stamp_of(item.output)
    carry_out_task(task)  # a second start finds nothing to do
    again = [event_of(line) for line in Followed(task.events).lines()[len(lines) :]]
    assert again == [None, None]


def test_a_name_that_is_no_text_comes_back(tmp_path):
    name = os.fsdecode(b"\xff\n.png")
    path = tmp_path / "events.jsonl"
    say(Task(path, (), orders_of(2)), {**vars(Event("done", name)), "done": None})
    assert [event_of(line) for line in Followed(path).lines()] == [Event("done", name)]
    done = {"content": "ab", "stamp": {"size": 1, "changed": 2}, "seconds": 3.0, "width": 4}
    done |= {"height": 5, "channels": 1, "pages": 1, "noise": "gaussian:10", "note": "a note"}
    line = {**vars(Event("done", name)), "done": done}
    assert event_of(line) == Event("done", name, done=DONE)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_signals_end_a_task_whenever_they_come(tmp_path, monkeypatch, number):
    place = place_of(tmp_path, "out")
    items = items_of(tmp_path, place, 2)
    task = Task(tmp_path / "events.jsonl", tuple((item,) for item in items), orders_of(50))
    task.events.touch()

    def send_at(kind: str) -> dict[str, str]:
        from guided_dip.batch import slurm_job

        told = slurm_job._Report.__call__

        def tell(self, event):
            if event.kind == kind and not sent:
                sent.append(event.name)
                signal.raise_signal(number)
                signal.raise_signal(number)
            told(self, event)

        sent: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(slurm_job._Report, "__call__", tell)
            carry_out_task(task)
        lines = Followed(task.events).lines()
        assert lines[-1] == {"over": True}
        task.events.write_bytes(b"")
        return ends([event for line in lines if (event := event_of(line)) is not None])

    handlers = [signal.getsignal(each) for each in (signal.SIGUSR2, signal.SIGTERM)]
    assert send_at("begun") == {"p0.png": "cut", "p1.png": "cut"}
    assert send_at("step") == {"p0.png": "cut", "p1.png": "cut"}
    assert items[0].work.exists()
    assert send_at("done") == {"p0.png": "done", "p1.png": "cut"}
    assert handlers == [signal.getsignal(each) for each in (signal.SIGUSR2, signal.SIGTERM)]


def test_a_task_ends_when_its_file_is_taken_away(tmp_path):
    place = place_of(tmp_path, "out")
    (item,) = items_of(tmp_path, place, 1)
    task = Task(tmp_path / "events.jsonl", ((item,),), orders_of(2))
    carry_out_task(task)
    assert not item.output.exists()
    assert not task.events.exists()


# --- settings -------------------------------------------------------------------------------------


def test_settings_go_to_where_slurm_has_them():
    asked = {"partition": "gpu", "time": "2:30:00", "mem": "8G", "setup": "module load cuda"}
    settings = settings_of(asked | {"cpus-per-task": "3", "reservation": "mine"}, threads=1, gpus=2)
    parameters = settings.parameters
    assert settings.cluster == "slurm"
    assert (parameters["partition"], parameters["time"], parameters["mem"]) == ("gpu", 150, "8G")
    assert (parameters["gpus_per_node"], parameters["cpus_per_task"]) == (2, 3)
    assert parameters["srun_args"] == ["--cpus-per-task=3"]
    assert parameters["setup"] == ["module load cuda"]
    more = {"no-requeue": True, "signal": "USR2@90", "reservation": "mine"}
    assert parameters["additional_parameters"] == more


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("1:00:00", 60), ("1-0", 1440), ("1-1:30", 1530), ("0:0:1", 1)],
)
def test_times_are_read_as_slurm_does(text, minutes):
    assert settings_of({"time": text}, threads=1, gpus=0).parameters["time"] == minutes


@pytest.mark.parametrize(
    ("asked", "gpus", "message"),
    [
        ({}, 0.5, "--gpus 0.5: a Slurm job has whole GPUs"),
        ({"cluster": "locl"}, 0, "did you mean 'local'"),
        ({"time": "soon"}, 0, "--slurm time=soon: is no time"),
        ({"time": "0"}, 0, "is no time"),
        ({"time": "1:2:3:4"}, 0, "is no time"),
        ({"time": "-5"}, 0, "is no time"),
        ({"cpus_per_task": "two"}, 0, "is no whole number"),
        ({"nodes": "2"}, 0, "--slurm nodes: is for the batch to say"),
        ({"--array": "1-3"}, 0, "--slurm --array: is for the batch to say"),
    ],
)
def test_wrong_settings_are_told_in_one_line(asked, gpus, message):
    with pytest.raises(InputError, match=message) as error:
        settings_of(asked, threads=1, gpus=gpus)
    assert "\n" not in str(error.value)


def test_submitit_takes_the_settings(tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda *_: 2)
    asked = {"time": "5", "mem": "1G", "exclusive": "true", "reservation": "mine"}
    place = place_of(tmp_path, "out")
    executor = slurm(place, asked=asked, gpus=1.0)
    text = executor._queue._executor._make_submission_file_text("run", "")
    wanted = ("time=5", "mem=1G", "exclusive\n", "reservation=mine", "gpus-per-node=1")
    assert all(f"#SBATCH --{each}" in text for each in (*wanted, "no-requeue\n"))


def test_without_submitit_or_slurm_it_says_so_in_one_line(tmp_path, monkeypatch):
    crew, place = Crew(executor="slurm", slurm={}), place_of(tmp_path, "out")
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda *_: -1)
    with pytest.raises(InputError, match="there is no Slurm here"):
        make_executor(crew, orders_of(5), place)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"guided-dip\[slurm\]") as error:
        make_executor(crew, orders_of(5), place)
    assert "\n" not in str(error.value)
