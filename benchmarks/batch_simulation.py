"""SIMULATED: a batch of a million pictures on a hundred GPUs, none of which is there.

    python benchmarks/batch_simulation.py [--pictures 1000000] [--gpus 100] [--seconds 0.9]
                                          [--together 4] [--gather 0] [--task-overhead 0]
                                          [--part PICTURES] [--folder DIR] [--json FILE]
                                          [--profile]
    python benchmarks/batch_simulation.py --ray 2000

The coordinator and its manifest on the disk are the real ones, and their time is measured; what
carries the work out is simulated. A worker is a number in a queue of events in virtual time: no
picture is read, restored or written, and no message is sent. Virtual time is what the simulated
workers take, and all real time of the coordinator is added to it, as workers that have ended wait
for it. Seconds a picture are drawn around the mean, and one of a thousand pictures fails; now and
then a worker is lost with its pictures, and its slot starts a new one.

`--gather` has what is said within so many virtual seconds come as one. The real executors say a
thing at once (0) and gather only while the coordinator is busy; a million pictures of 100 GPUs are
250,000 turns of its loop then, each with two commits, in place of some 20,000. `--task-overhead` is
added for each group: what submitting it and taking in its end cost. `--ray` measures that instead
of simulating, by so many tasks that do nothing on a Ray of this machine. `--part` begins no more
pictures when so many have ended. Prints a JSON line.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import json
import math
import pstats
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guided_dip.batch.coordinator import Coordinator, Ending, Requests, Rules
from guided_dip.batch.database import Database
from guided_dip.batch.entries import Counts, Done, Entry, Found, Stamp
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.place import Place
from guided_dip.batch.work import Event, Item
from guided_dip.seeds import derive

PER_FOLDER = 1000
DIGEST = "5" * 64
START = 10.0  # seconds until a new process computes: libraries, CUDA, graphs
SPREAD = 0.35  # of the logarithm of the seconds of a picture
FAILS = 1e-3  # of the pictures
REFUSED = 0.05  # seconds until a picture that cannot be one has failed
LOST = 1e-4  # of the groups
FILE_BYTES = 176_000  # a 256x256 PNG of 8-bit RGB: mean of 12 crops with noise of sigma 25


def name_of(number: int) -> str:
    """Return the name of a picture."""
    return f"archive/box {number // PER_FOLDER:04}/scan {number % PER_FOLDER:04}.png"


def number_of(name: str) -> int:
    """Return the number of a picture, from 0."""
    _, box, scan = name.removesuffix(".png").split("/")
    return int(box.removeprefix("box ")) * PER_FOLDER + int(scan.removeprefix("scan "))


def pictures(count: int) -> Iterator[Found]:
    """Yield the pictures in the order in which folders are walked."""
    for number in range(count):
        name = name_of(number)
        yield Found(name, name, Stamp(FILE_BYTES, 1_700_000_000_000_000_000 + number))


@dataclass
class Watch:
    """How often something was done, and how long it took in real seconds.

    Attributes
    ----------
    times, seconds, worst
        How often, how long in all, and at most.
    """

    times: int = 0
    seconds: float = 0.0
    worst: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take the time of the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.times += 1
            self.seconds += took
            self.worst = max(self.worst, took)

    def table(self) -> dict[str, float]:
        """Return it for JSON."""
        each = 1000 * self.seconds / max(1, self.times)
        return {
            "times": self.times,
            "seconds": round(self.seconds, 3),
            "each_ms": round(each, 4),
            "worst_ms": round(1000 * self.worst, 1),
        }


class TimedDatabase(Database):
    """The real file, with the time of its commits taken: they wait for the disk."""

    def __init__(self, path: Path) -> None:
        self.commits = Watch()
        self.commit_cpu = 0.0
        super().__init__(path, "write")

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """As `Database.run`."""
        if sql != "COMMIT":
            return super().run(sql, values)
        cpu = time.process_time()
        with self.commits.running():
            changed = super().run(sql, values)
        self.commit_cpu += time.process_time() - cpu
        return changed


class TimedManifest(Manifest):
    """The real manifest, with the time of what a coordinator asks taken."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.watches = {name: Watch() for name in ("claim", "finish", "requeue", "counts")}

    def claim(self, limit: int, settings: str | None = None) -> list[Entry]:
        """As `Manifest.claim`."""
        with self.watches["claim"].running():
            return super().claim(limit, settings)

    def finish(self, name: str, done: Done) -> None:
        """As `Manifest.finish`."""
        with self.watches["finish"].running():
            super().finish(name, done)

    def requeue(self, names: Iterable[str], *, counted: bool) -> None:
        """As `Manifest.requeue`."""
        with self.watches["requeue"].running():
            super().requeue(names, counted=counted)

    def counts(self) -> Counts:
        """As `Manifest.counts`."""
        with self.watches["counts"].running():
            return super().counts()


@dataclass(frozen=True)
class Fleet:
    """What is simulated.

    Attributes
    ----------
    pictures, gpus
        How many.
    seconds
        A picture's of a GPU, on average, in a group.
    together
        Pictures of a group.
    gather
        Virtual seconds in which what is said is gathered.
    task_overhead
        Seconds of the coordinator's that a group costs the executor.
    part
        Pictures that end before no more are begun; None for all.
    """

    pictures: int
    gpus: int
    seconds: float
    together: int
    gather: float
    task_overhead: float
    part: int | None = None


@dataclass(order=True)
class _Task:
    end: float
    order: int
    slot: int = field(compare=False)
    events: list[Event] = field(compare=False)


class SimulatedExecutor:
    """Takes groups as an executor does, and lets virtual time pass in place of computing.

    Parameters
    ----------
    fleet
        What is simulated.
    asked
        Is asked to begin no more when the part is done.
    """

    def __init__(self, fleet: Fleet, asked: Requests) -> None:
        self.fleet, self.asked = fleet, asked
        self.now = 0.0  # virtual seconds since the coordinator began
        self.coordinator_seconds = 0.0  # real ones outside of this class
        self.coordinator_cpu = 0.0
        self.worked = 0.0  # virtual seconds of GPUs, starts and what was lost included
        self.groups = self.lost_workers = self.events = self.waits = 0
        self.told = bytearray(fleet.pictures)  # how often each was said to have ended
        self.ended = 0
        self.bounds: list[float] = []  # when a tenth, and nine tenths, had ended
        self._random = random.Random(derive(0, "simulated batch"))
        self._running: list[_Task] = []
        self._free = list(range(fleet.gpus - 1, -1, -1))
        self._cold = [True] * fleet.gpus
        self._left = (time.perf_counter(), time.process_time())

    def begin(self) -> None:
        """Take the coordinator's time from now on."""
        self._left = (time.perf_counter(), time.process_time())

    def room(self) -> int:
        """Return how many groups it can take now."""
        with self._own_time():
            return len(self._free)

    def submit(self, items: Sequence[Item]) -> None:
        """Have a group carried out; as `Executor.submit`."""
        with self._own_time():
            self.now += self.fleet.task_overhead
            slot = self._free.pop()
            took = START if self._cold[slot] else 0.0
            drawn = [self._draw(item) for item in items]
            took += sum(seconds for seconds, _ in drawn)
            events = [event for _, event in drawn]
            self._cold[slot] = self._random.random() < LOST
            if self._cold[slot]:
                took *= self._random.random()
                events = [Event("lost", item.name, "its node is no more") for item in items]
                self.lost_workers += 1
            self.worked += took
            self.groups += 1
            heapq.heappush(self._running, _Task(self.now + took, self.groups, slot, events))

    def wait(self, seconds: float) -> list[Event]:
        """Return what has been said, at once in real time; as `Executor.wait`."""
        with self._own_time():
            self.waits += 1
            if not self._running:
                return []
            until = max(self.now, min(self.now + seconds, self._running[0].end))
            self.now = until + (self.fleet.gather if self._running[0].end <= until else 0.0)
            said: list[Event] = []
            while self._running and self._running[0].end <= self.now:
                task = heapq.heappop(self._running)
                self._free.append(task.slot)
                said += task.events
            for event in said:
                self._note(event)
            return said

    def stop(self) -> None:
        """As `Executor.stop`; nothing asks for it here."""

    def close(self) -> None:
        """As `Executor.close`; there is nothing to end."""

    def _draw(self, item: Item) -> tuple[float, Event]:
        """Return how long a picture takes, and what comes of it."""
        if self._random.random() < FAILS:
            return REFUSED, Event("failed", item.name, "is no picture; try another file")
        mean = math.log(self.fleet.seconds) - SPREAD**2 / 2
        seconds = self._random.lognormvariate(mean, SPREAD)
        stamp = Stamp(FILE_BYTES, 1_800_000_000_000_000_000 + int(1e9 * self.now))
        content = f"{number_of(item.name):064x}"
        done = Done(content, stamp, seconds, 256, 256, 3, noise="sigma 12.3")
        return seconds, Event("done", item.name, done=done)

    def _note(self, event: Event) -> None:
        self.events += 1
        if event.kind == "lost":
            return
        self.told[number_of(event.name)] += 1
        self.ended += 1
        part = self.fleet.part or self.fleet.pictures
        if self.ended in (part // 10, 9 * part // 10):
            self.bounds.append(self.now)
        if self.ended == self.fleet.part:
            self.asked.drain = True

    @contextmanager
    def _own_time(self) -> Iterator[None]:
        """Count what passed since as the coordinator's, and what passes now as nobody's."""
        wall, cpu = time.perf_counter() - self._left[0], time.process_time() - self._left[1]
        self.coordinator_seconds += wall
        self.coordinator_cpu += cpu
        self.now += wall
        try:
            yield
        finally:
            self._left = (time.perf_counter(), time.process_time())


def peak_memory() -> float:
    """Return the most MiB that this process had in use."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def simulate(fleet: Fleet, folder: Path, *, profile: bool = False) -> dict[str, Any]:
    """Carry a simulated batch out, and return its figures.

    Parameters
    ----------
    fleet
        What is simulated.
    folder
        An empty folder, for the manifest.
    profile
        Print what the coordinator's time goes into; it takes longer then.
    """
    place = Place(folder / "restored")
    place.folder.mkdir(parents=True)
    root = folder / "pictures"
    began = time.perf_counter()
    with Manifest.create(place.manifest, root) as manifest:
        manifest.keep_settings(DIGEST, {"effort": "fast"})
        manifest.enrol(
            pictures(fleet.pictures),
            DIGEST,
            content_of=lambda _: "",
            output_stamp_of=lambda _: None,
        )
    enrol_seconds = time.perf_counter() - began
    print(f"SIMULATED: enrolled in {enrol_seconds:.1f} s", file=sys.stderr, flush=True)
    before = peak_memory()
    asked = Requests()
    executor = SimulatedExecutor(fleet, asked)
    database = TimedDatabase(place.manifest)
    profiler = cProfile.Profile() if profile else None
    began = time.perf_counter()
    timed = TimedManifest(database)
    with timed:
        coordinator = Coordinator(timed, DIGEST, executor, place, Rules(together=fleet.together))
        executor.begin()
        with profiler or nullcontext():
            ending = coordinator.run(asked)
        real = time.perf_counter() - began
        check(fleet, executor, ending)
    if profiler is not None:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    figures = of_the_fleet(fleet, executor, ending) | of_the_coordinator(executor, database)
    return figures | {
        **{name: watch.table() for name, watch in timed.watches.items()},
        "enrol_seconds": round(enrol_seconds, 2),
        "manifest_mib": round(place.manifest.stat().st_size / 2**20, 1),
        "peak_memory_mib": round(peak_memory()),
        "peak_memory_after_enrolling_mib": round(before),
        "real_seconds": round(real, 1),
    }


def check(fleet: Fleet, executor: SimulatedExecutor, ending: Ending) -> None:
    """Refuse figures of a batch of which a picture ended twice, or not at all."""
    twice = sum(times > 1 for times in executor.told)
    total, left = ending.done + ending.failed, ending.counts.left
    lost = ending.counts.total != fleet.pictures or total + left != fleet.pictures
    if twice or lost or (left and fleet.part is None):
        raise AssertionError(f"{twice} ended twice, {left} are left, {total} ended: {ending}")


def of_the_fleet(fleet: Fleet, executor: SimulatedExecutor, ending: Ending) -> dict[str, Any]:
    """Return the figures that are simulated."""
    virtual, bounds = executor.now, executor.bounds
    part = fleet.part or fleet.pictures
    steady = 0.8 * part / (bounds[1] - bounds[0]) if len(bounds) == 2 else None
    pace = (ending.done + ending.failed) / virtual
    return {
        "simulated": True,
        **vars(fleet),
        "virtual_hours": round(virtual / 3600, 4),
        "virtual_seconds": round(virtual, 3),
        "pictures_an_hour": round(3600 * pace),
        "steady_pictures_a_second": steady and round(steady, 1),
        "possible_pictures_a_second": round(fleet.gpus / fleet.seconds, 1),
        "gpus_busy": round(executor.worked / (fleet.gpus * virtual), 4),
        "worked_seconds": round(executor.worked, 3),
        "done": ending.done,
        "failed": ending.failed,
        "lost_workers": executor.lost_workers,
        "groups": executor.groups,
        "gb_an_hour_read_by_workers": round(3600 * pace * FILE_BYTES / 1e9, 1),
    }


def of_the_coordinator(executor: SimulatedExecutor, database: TimedDatabase) -> dict[str, Any]:
    """Return the figures that are real, and their shares of the virtual time."""
    virtual, commits = executor.now, database.commits
    return {
        "waits": executor.waits,
        "events_a_second": round(executor.events / virtual, 2),
        "transactions_a_second": round(commits.times / virtual, 2),
        "coordinator_seconds": round(executor.coordinator_seconds, 2),
        "coordinator_share": round(executor.coordinator_seconds / virtual, 4),
        "cpu_seconds": round(executor.coordinator_cpu, 2),
        "cpu_share_of_a_core": round(executor.coordinator_cpu / virtual, 4),
        "cpu_ms_a_picture": round(1000 * executor.coordinator_cpu / executor.ended, 4),
        "commit": commits.table(),
        "commit_share": round(commits.seconds / virtual, 4),
        "commit_cpu_seconds": round(database.commit_cpu, 2),
    }


def measure_ray(tasks: int) -> dict[str, Any]:
    """Return what a group costs on Ray: tasks that do nothing, by the real executor."""
    import ray

    from guided_dip.batch.on_ray import RayExecutor
    from guided_dip.batch.work import Orders
    from guided_dip.config import make_config

    def nothing(items: tuple[Item, ...], _: Orders) -> list[Event]:
        return [Event("done", item.name) for item in items]

    place = Path("/pictures")
    items = [
        Item(name_of(k), place / name_of(k), place, place / "work", place / "log", place / "run")
        for k in range(4)
    ]
    figures: dict[str, Any] = {"simulated": False, "ray_tasks": tasks}
    for workers in (2, 100, 1000, 10_000):
        executor = RayExecutor(Orders(make_config({"threads": 1})), None, workers=workers, gpus=0)
        try:
            executor._task = ray.remote(num_cpus=1, max_retries=0)(nothing)
            _run_through(executor, items, min(tasks, 50))  # starts processes, and does not count
            wall, cpu = time.perf_counter(), time.process_time()
            waits = _run_through(executor, items, tasks)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        finally:
            executor.close()
        figures[f"in_flight_{workers}"] = {
            "wall_ms_a_task": round(1000 * wall / tasks, 3),
            "driver_cpu_ms_a_task": round(1000 * cpu / tasks, 3),
            "waits": waits,
        }
    return figures


def _run_through(executor: Any, items: list[Item], tasks: int) -> int:
    given = ended = waits = 0
    while ended < tasks * len(items):
        for _ in range(min(executor.room(), tasks - given)):
            executor.submit(items)
            given += 1
        ended += len(executor.wait(0.5))
        waits += 1
    return waits


def main() -> int:
    """Simulate, or measure Ray, and print a JSON line."""
    parser = argparse.ArgumentParser(description="A SIMULATED batch.")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--gpus", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.9, help="of a GPU a picture, mean")
    parser.add_argument("--together", type=int, default=4, help="pictures of a group")
    parser.add_argument("--gather", type=float, default=0.0, help="virtual seconds")
    parser.add_argument("--task-overhead", type=float, default=0.0, help="seconds a group")
    parser.add_argument("--part", type=int, help="end when so many pictures have ended")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--json", type=Path, help="a file that the line is appended to")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--ray", type=int, help="measure so many tasks of Ray instead")
    args = parser.parse_args()
    if min(args.pictures, args.gpus, args.together) < 1 or args.seconds <= 0:
        parser.error("--pictures, --gpus, --together and --seconds must be more than 0")
    if args.ray:
        figures = measure_ray(args.ray)
    else:
        given = (args.pictures, args.gpus, args.seconds, args.together)
        fleet = Fleet(*given, args.gather, args.task_overhead, args.part)
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            figures = simulate(fleet, Path(folder), profile=args.profile)
    line = json.dumps(figures)
    print(line)
    if args.json is not None:
        with args.json.open("a") as file:
            file.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
