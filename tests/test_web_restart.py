"""Jobs survive the end of the server, of a worker, and of what the server knew of them."""

import os
import shlex
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from guided_dip.cli import run
from guided_dip.web.queue import asking
from guided_dip.web.queue.manager import JobManager
from web_work import computing, ended, follow, job, noisy

STEPS = 60
SETTINGS = {"effort": "fast", "noise": "gaussian:20", "settings": {"steps": STEPS, "restarts": 2}}


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(asking, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(asking, "TOLD_EVERY", 0.0)
    monkeypatch.setattr(asking, "PREVIEW_EVERY", 0.2)


def opened(folder):
    return JobManager(folder, workers=2, figures=False)


def asleep(folder):
    """Return a manager that gives nothing out."""
    manager = opened(folder)
    manager._engine.enrol = lambda name: None
    return manager


def by_command(state, pixels_of, place):
    """Return the bytes that a job's command makes."""
    place.mkdir()
    with chdir(place):
        words = shlex.split(state.command)
        Path(words[2]).write_bytes(pixels_of)
        assert run([*words[1:], "--quiet"]) == 0
        return Path(state.file_name).read_bytes()


def test_a_worker_and_a_server_that_are_killed_cost_no_job_a_byte(tmp_path):
    data = tmp_path / "data"
    with opened(data) as manager:
        new = job(tmp_path, noisy((24, 24)), SETTINGS, name="a.png")
        source = new.files["image"].path.read_bytes()
        state = computing(manager, manager.begin(new, "me"), 12)
        executor = manager._engine._coordinator.executor
        (pid,) = (worker.pid for worker, left in executor._left.items() if left)
        os.kill(pid, signal.SIGKILL)
        state = follow(manager, state, lambda state: state.status == "queued")[-1]
        state = computing(manager, state, 20)
    # The server has ended; another one begins, and is killed.
    command = [sys.executable, str(Path(__file__).with_name("web_server.py")), str(data)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        steps = (line.split() for line in server.stdout)
        step = next(
            int(step) for _, status, step in steps if status == "running" and int(step) > 30
        )
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert step < STEPS
    with opened(data) as manager:
        again = manager.state(state.id, "me")
        assert again.version > state.version
        assert again.status in ("queued", "running")
        state = ended(manager, again)
        assert state.status == "done", state.reason
        assert "going on with" in manager._data.job(state.id).log.read_text()
        result = manager.view(state.id, "me", "result").read_bytes()
    assert result == by_command(state, source, tmp_path / "command")


def test_a_job_that_was_stopped_ends_with_what_it_had_after_a_restart(tmp_path):
    settings = {**SETTINGS, "settings": {"steps": 4000}}
    with opened(tmp_path / "data") as manager:
        state = computing(manager, manager.begin(job(tmp_path, settings=settings), "me"), 12)
    with opened(tmp_path / "data") as manager:
        state = manager.stop(state.id, "me")
        assert state.status in ("stopping", "done")
        state = ended(manager, state)
    assert (state.status, state.outcome.is_estimate) == ("done", True)


def test_what_has_ended_is_known_and_what_was_asked_for_goes_on(tmp_path):
    with asleep(tmp_path / "data") as manager:
        queued = manager.begin(job(tmp_path), "me")
        cancelled = manager.cancel(manager.begin(job(tmp_path), "me").id, "me")
    with asleep(tmp_path / "data") as manager:
        known = {state.id: state for state in manager.states("me")}
        assert known[cancelled.id].status == "cancelled"
        assert known[cancelled.id].version > cancelled.version
        assert known[queued.id].settings == queued.settings
        assert known[queued.id].command == queued.command
        manager.remove(queued.id, "me")
    with asleep(tmp_path / "data") as manager:
        assert [state.id for state in manager.states("me")] == [cancelled.id]


@pytest.mark.parametrize("harm", ["record", "image", "both", "no record", "no folder", "manifest"])
def test_a_job_that_is_damaged_is_told_of_and_keeps_no_server_from_beginning(tmp_path, harm):
    data = tmp_path / "data"
    with asleep(data) as manager:
        one, other = (manager.begin(job(tmp_path), "me") for _ in range(2))
        manager.cancel(other.id, "me")
        folder = manager._data.job(one.id)
    if harm in ("record", "both"):
        folder.record.write_bytes(b'{"id": "\xff')
    if harm in ("image", "both"):
        (folder.path / "image.png").unlink()
    if harm == "both":
        folder.owner.write_bytes(b"\xff\xff")
    if harm == "no record":
        folder.record.unlink()
    if harm == "no folder":
        for path in folder.path.iterdir():
            path.unlink()
        folder.path.rmdir()
    if harm == "manifest":
        for path in (data / "guided-dip-batch").glob("manifest.sqlite*"):
            path.unlink()
    with asleep(data) as manager:
        known = {state.id: state for state in manager.states("me")}
        assert known.pop(other.id).status == "cancelled"
        if harm in ("record", "image"):
            state = known.pop(one.id)
            assert state.status == "failed"
            assert state.reason.endswith("try it again")
        elif harm == "manifest":
            state = known.pop(one.id)
            assert state.status in ("queued", "running")
            manager.cancel(state.id, "me")
        assert not known
        assert manager.is_healthy


def test_a_restoration_that_is_lost_is_told_of(tmp_path):
    with opened(tmp_path / "data") as manager:
        state = ended(manager, manager.begin(job(tmp_path), "me"))
        folder = manager._data.job(state.id)
        record = folder.record.read_text()
    # As if it had been killed before it wrote down that the job is done.
    started = record.replace('"status": "done"', '"status": "queued"')
    assert started != record
    folder.record.write_text(started)
    with asleep(tmp_path / "data") as manager:
        again = manager.state(state.id, "me")
        assert (again.status, again.outcome) == ("done", state.outcome)
    folder.record.write_text(started)
    folder.outcome.write_text("{")
    with asleep(tmp_path / "data") as manager:
        least = manager.state(state.id, "me").outcome
        assert (least.width, least.format, least.views) == (16, "PNG", ("result",))
    (folder.path / "result.png").unlink()
    with asleep(tmp_path / "data") as manager:
        lost = manager.state(state.id, "me")
        assert (lost.status, lost.outcome) == ("failed", None)
        assert lost.reason.endswith("try it again")
