"""Batches on Ray: clusters of several nodes on this machine, of which some are killed."""

import _thread
import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from guided_dip.batch import on_ray
from guided_dip.batch.local import LocalExecutor
from guided_dip.batch.place import Place
from guided_dip.batch.reading import Reading
from guided_dip.batch.work import Item, Orders
from guided_dip.cli import run
from guided_dip.config import make_config
from guided_dip.errors import InputError, RunError
from guided_dip.images import Picture, write

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks for Ray's processes in /proc"
)

STORE = 100 * 2**20  # bytes of an object store: a container's /dev/shm may be small
SMALL = {"backbone_options": {"width": 4, "scales": 2}, "noise": "gaussian:25", "threads": 1}
TINY = [
    *("--set", "backbone_options={width: 4, scales: 2}", "--noise", "gaussian:25"),
    *("--set", "threads=1"),
]
COUNT = 12
LONG = ["--steps", "4000", "--checkpoint-every", "0.5"]  # never done in a test's time


def make_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for number, path in enumerate(paths):
        y, x = np.mgrid[0:32, 0:32] / 32
        clean = 0.5 + 0.3 * np.sin((number + 2) * x) * np.cos(5 * y)
        noisy = np.clip(clean + random.normal(0, 0.1, clean.shape), 0, 1)
        write(path, Picture((255 * noisy).astype(np.uint8)))
    return paths


def orders(steps: int = 5, **settings) -> Orders:
    return Orders(make_config(SMALL | {"steps": steps} | settings), checkpoint_every=0.5)


def items(folder: Path, paths: list[Path]) -> list[Item]:
    place = Place(folder / "out")
    return [
        Item(
            path.name,
            path,
            place.output(path.name),
            place.work(path.name, "0"),
            place.log(path.name),
            place.run(path.name),
        )
        for path in paths
    ]


def wait_for(condition, seconds: float = 60.0, process: subprocess.Popen | None = None):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it has not come to that in time"
        time.sleep(0.02)
    return found


def ends_of(executor, left: int = 1, seconds: float = 60.0) -> list:
    """Return what became of so many pictures."""
    events, until = [], time.monotonic() + seconds
    while len(events) < left:
        assert time.monotonic() < until, events
        events += [event for event in executor.wait(0.5) if event.kind not in ("begun", "step")]
    return events


def processes() -> dict[int, tuple[int, str]]:
    """Return parent and title of every process that lives."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state != "Z":
                found[int(folder.name)] = int(parent), title
    return found


def descendants(ancestor: int) -> set[int]:
    found, parents = {ancestor}, {pid: parent for pid, (parent, _) in processes().items()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def at_work(node) -> list[int]:
    """Return the processes of a node that restore something now."""
    raylet = node.all_processes["raylet"][0].process.pid
    there = processes()
    return [pid for pid in descendants(raylet) if "_carry_out" in there.get(pid, (0, ""))[1]]


@pytest.fixture(scope="module")
def tmpdir_of_ray():
    """A place for Ray's sockets, whose names may have no more than 107 letters."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def cluster_of(*nodes: dict):
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for options in nodes:
            cluster.add_node(include_dashboard=False, object_store_memory=STORE, **options)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def cluster(tmpdir_of_ray):
    with cluster_of({"num_cpus": 4, "num_gpus": 1}) as made:
        yield made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("ray") / "in", COUNT)


@pytest.fixture(scope="module")
def expected(pictures, tmp_path_factory):
    """Bytes of what local processes make of the pictures."""
    folder = tmp_path_factory.mktemp("local")
    executor = LocalExecutor(orders(), [None], None)
    made = {}
    try:
        for item in items(folder, pictures):
            executor.submit([item])
            (event,) = ends_of(executor)
            assert event.kind == "done"
            while not executor.room():
                executor.wait(0.1)
            made[item.name] = item.output.read_bytes()
    finally:
        executor.close()
    return made


@pytest.fixture
def executor(cluster):
    """Make executors that are connected to the cluster, one at a time."""
    made = []

    def make(steps=5, *, workers=None, gpus=0.0, **settings):
        executor = on_ray.RayExecutor(
            orders(steps, **settings), cluster.address, workers=workers, gpus=gpus
        )
        made.append(executor)
        return executor

    yield make
    for each in made:
        each.close()


def start(*arguments: object) -> subprocess.Popen:
    code = "from guided_dip.cli import main; main()"
    words = [sys.executable, "-c", code, "batch", *map(str, arguments), "--executor", "ray"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        words, stdout=pipe, stderr=pipe, text=True, env=os.environ, start_new_session=True
    )


def entries(outdir: Path) -> list:
    with Reading(Place(outdir)) as reading:
        return reading.entries(None, 0, 1000)


def quiet(error: str) -> bool:
    """Whether nothing but progress and our own words are on stderr."""
    ours = (" new", " left", "an hour", "no pace yet", "guided-dip: ", "finishing ", "stopping")
    return all(any(word in line for word in ours) for line in error.splitlines())


def test_a_node_that_is_killed_costs_no_picture(tmpdir_of_ray, pictures, expected, tmp_path):
    outdir = tmp_path / "out"
    with cluster_of({"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        killed = next(iter(cluster.worker_nodes))
        address = ["--ray-address", cluster.address]
        process = start(pictures[0].parent, "-o", outdir, *TINY, "--steps", "5", *address)

        def caught() -> list[int]:
            """Return a process of the node that is amid a picture, where it stays."""
            for pid in at_work(killed):
                os.kill(pid, signal.SIGSTOP)
                if pid in at_work(killed) and any(outdir.glob("*.png")):
                    return [pid]
                os.kill(pid, signal.SIGCONT)
            return []

        (worker,) = wait_for(caught, process=process)
        cluster.remove_node(killed, allow_graceful=False)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        told, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert quiet(error), error
    assert f"{COUNT} done" in told
    ended = entries(outdir)
    assert [entry.name for entry in ended] == sorted(expected)
    assert {entry.state for entry in ended} == {"done"}
    assert sorted(entry.attempts for entry in ended) == [1] * (COUNT - 1) + [2]
    assert {path.name: path.read_bytes() for path in outdir.glob("*.png")} == expected


def test_a_ray_of_its_own_ends_with_it(tmpdir_of_ray, pictures, expected, tmp_path, cluster):
    outdir = tmp_path / "out"
    source = [pictures[0].parent, "-o", outdir, *TINY]
    process = start(*source, "--steps", "5", "--ray-address", "local")
    wait_for(lambda: any(outdir.glob("*.png")), process=process)
    its = descendants(process.pid)
    assert any("raylet" in title for pid, (_, title) in processes().items() if pid in its)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    wait_for(lambda: "finishing" in process.stderr.readline(), process=process)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert quiet(error), error
    assert "the same command goes on" in error
    assert not its & processes().keys()
    assert sum(entry.state == "queued" for entry in entries(outdir)) > COUNT // 2
    again = start(*source, "--steps", "5", "--ray-address", cluster.address)
    _, error = again.communicate(timeout=60)
    assert again.returncode == 0, error
    assert {path.name: path.read_bytes() for path in outdir.glob("*.png")} == expected


def test_ctrl_c_lets_what_was_begun_be_finished(pictures, expected, tmp_path, cluster):
    outdir = tmp_path / "out"
    few = ["--workers", "1", "--ray-address", cluster.address, "--steps", "5"]
    process = start(pictures[0].parent, "-o", outdir, *TINY, *few)
    wait_for(lambda: any(outdir.glob("*.png")), process=process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert quiet(error), error
    states = {entry.name: entry.state for entry in entries(outdir)}
    assert set(states.values()) == {"done", "queued"}
    for name, state in states.items():
        assert (outdir / name).exists() == (state == "done")


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_what_is_stopped_keeps_its_place(pictures, tmp_path, cluster, signals):
    outdir = tmp_path / "out"
    few = ["--workers", "2", "--ray-address", cluster.address]
    process = start(pictures[0].parent, "-o", outdir, *TINY, *LONG, *few)
    logs = [Place(outdir).log(path.name) for path in pictures[:2]]
    wait_for(lambda: all(has(log, "step ") for log in logs), process=process)
    for number in signals:
        process.send_signal(number)
        time.sleep(1.0)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 128 + signals[0], error
    assert quiet(error), error
    assert {entry.state for entry in entries(outdir)} == {"queued"}
    assert len(list((Place(outdir).folder / "work").rglob("checkpoint.pt"))) == 2


def has(path: Path, words: str) -> bool:
    return path.exists() and words in path.read_text()


def test_a_killed_process_costs_an_attempt(pictures, expected, tmp_path, executor, cluster):
    ray, (item, *_) = executor(4000), items(tmp_path, pictures)
    ray.submit([item])
    wait_for(lambda: has(item.log, "step "))
    (pid,) = at_work(cluster.head_node)
    os.kill(pid, signal.SIGKILL)
    (event,) = ends_of(ray)
    assert (event.kind, event.name) == ("lost", item.name)
    assert "is no more (WorkerCrashedError: " in event.text
    assert ray.room() == 4


def test_cancelling_cuts_what_runs_and_what_waits(pictures, tmp_path, executor):
    ray = executor(4000, workers=2, threads=3)  # one fits on the node
    ray._orders = dataclasses.replace(ray._orders, joint=True)  # so one after another
    missing, running, *waiting = items(tmp_path, [tmp_path / "none.png", *pictures[:3]])
    ray.submit([missing, running])
    wait_for(lambda: has(running.log, "step "))
    ray.submit(waiting)
    assert ray.wait(0.5) == []
    ray.stop()
    events = {event.name: event for event in ends_of(ray, 4, 30.0)}
    assert {event.kind for name, event in events.items() if name != missing.name} == {"cut"}
    assert "none.png" in events[missing.name].text  # heard of although its group was cut
    assert any(running.work.rglob("checkpoint.pt"))
    assert not any(item.work.exists() for item in waiting)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5])
def test_a_process_that_just_starts_can_be_cancelled(pictures, tmp_path, executor, seconds):
    ray, (item, *_) = executor(40000), items(tmp_path, pictures)
    ray.submit([item])
    time.sleep(seconds)
    ray.stop()
    (event,) = ends_of(ray, 1, 30.0)
    assert (event.kind, event.name) == ("cut", item.name)


def test_a_process_that_was_started_in_the_background_can_be_cancelled(pictures, tmp_path):
    (item,) = items(tmp_path, pictures[:1])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    ray_cancels = threading.Timer(0.5, _thread.interrupt_main)
    ray_cancels.start()
    try:
        (event,) = on_ray._carry_out((item,), orders(40000))
    finally:
        ray_cancels.join()
        signal.signal(signal.SIGINT, before)
    assert event.kind == "cut"


def test_four_share_a_gpu_and_do_without_where_there_is_none(
    pictures, expected, tmp_path, executor
):
    import ray

    shared, pair = executor(gpus=0.25), items(tmp_path, pictures[:2])
    assert shared.room() == 4
    for item in pair:
        shared.submit([item])
    wait_for(lambda: ray.available_resources().get("GPU") == 0.5)  # Ray's number: there is none
    assert {event.kind for event in ends_of(shared, 2)} == {"done"}
    assert all(item.output.read_bytes() == expected[item.name] for item in pair)
    assert all(has(item.log, "on cpu") for item in pair)


def test_rooms_are_those_of_single_nodes(executor, monkeypatch):
    ray = executor(threads=3, gpus=0.5)
    nodes = [({"CPU": 4, "GPU": 1}, True), ({"CPU": 2, "GPU": 4}, True), ({"CPU": 9}, True)]
    nodes += [({"CPU": 7, "GPU": 0.5}, True), ({"CPU": 64, "GPU": 8}, False)]
    listed = [{"Resources": there, "Alive": alive} for there, alive in nodes]
    monkeypatch.setattr(ray._ray, "nodes", lambda: listed)
    monkeypatch.setattr(on_ray, "COUNTED_EVERY", 0.0)
    wait_for(lambda: ray.room() == 2)


def test_without_a_node_that_would_do_it_waits_and_says_so(
    pictures, tmp_path, executor, monkeypatch, caplog
):
    ray = executor(4000, workers=2, threads=3)
    for item in items(tmp_path, pictures[:2]):
        ray.submit([item])
    ray._workers = None
    monkeypatch.setattr(ray._ray, "nodes", list)
    monkeypatch.setattr(on_ray, "COUNTED_EVERY", 0.0)
    ray._next_count = 0.0
    with caplog.at_level(logging.WARNING, "guided_dip"):
        assert ray.wait(0.1) == ray.wait(0.1) == []
    note = "no node of the Ray cluster has 3 cores now; 2 pictures wait for one"
    assert [record.message for record in caplog.records] == [note]
    assert ray.room() == 0
    ray._left.clear()
    assert ray.room() == 1  # else the batch would be taken to be at its end


def test_what_a_node_cannot_load_ends_the_batch(pictures, tmp_path, executor, monkeypatch):
    monkeypatch.setitem(sys.modules, "elsewhere", types.ModuleType("elsewhere"))

    class Other(Item):
        pass

    Other.__module__, Other.__qualname__ = "elsewhere", "Other"
    monkeypatch.setattr(sys.modules["elsewhere"], "Other", Other, raising=False)
    (item,) = items(tmp_path, pictures[:1])
    ray = executor()
    ray.submit([Other(**vars(item))])
    with pytest.raises(RunError, match=r"^a node of .* \(.*'elsewhere'\); try the same"):
        ends_of(ray)


def test_signals_stay_with_who_had_them(executor):
    before = [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        executor()
        for number in (signal.SIGINT, signal.SIGTERM):
            assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@pytest.mark.parametrize(
    ("settings", "gpus", "words"),
    [
        ({"threads": 5}, 0.0, "no node of the Ray cluster has 5 cores; try fewer"),
        ({}, 2.0, "no node of the Ray cluster has 1 core and 2 GPUs; try fewer"),
        ({}, 1.5, "--gpus 1.5: Ray parts no more than one GPU; try 1 or 2"),
        ({"device": "cuda"}, 0.0, "--device cuda on Ray needs --gpus, such as --gpus 1"),
    ],
)
def test_what_no_node_has_is_refused(executor, settings, gpus, words):
    with pytest.raises(InputError, match=f"^{words}$"):
        executor(gpus=gpus, **settings)


def listening(answer: bytes) -> socket.socket:
    """Return a port that takes connections, and has answered the first."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                connection.recv(1000)

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("nonsense", "it is not HOST:PORT, nor auto"),
        ("127.0.0.1:99999", "cannot be used"),
        ("auto", "Could not find any running Ray instance"),
        (b"SSH-2.0-OpenSSH_9.2", "what answers there is not Ray"),
    ],
)
def test_a_wrong_address_is_said_soon(
    tmpdir_of_ray, pictures, tmp_path, capsys, monkeypatch, address, words
):
    import ray

    ray.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where nobody has left an address
    if address == "auto":
        monkeypatch.setattr("ray._private.services.find_gcs_addresses", functools.cache(set))
    with contextlib.ExitStack() as stack:
        if isinstance(address, bytes):
            server = stack.enter_context(listening(address))
            address = f"127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        assert refused(pictures, tmp_path, "--ray-address", address) == 2
        assert time.monotonic() - began < 10
    error = capsys.readouterr().err
    assert error.startswith(f"guided-dip: error: --ray-address {address}: cannot be used (")
    assert words in error
    assert error.count("\n") == 1


def test_a_ray_that_is_not_there_is_said(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused(pictures, tmp_path) == 2
    words = "guided-dip: error: --executor ray needs Ray: try pip install 'guided-dip[ray]'\n"
    assert capsys.readouterr().err == words


def test_a_cluster_has_to_be_named(pictures, tmp_path, capsys, monkeypatch):
    """One that is started here could be reached from other machines."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert refused(pictures, tmp_path) == 2
    assert "no Ray cluster is named: try --ray-address auto" in capsys.readouterr().err


def refused(pictures: list[Path], folder: Path, *more: str) -> int:
    source = ["batch", str(pictures[0]), "-o", str(folder / "out"), *TINY, "--quiet"]
    return run([*source, "--executor", "ray", *more])
