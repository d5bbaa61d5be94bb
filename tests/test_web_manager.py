"""The job manager: what is asked for is carried out, shown, ended and forgotten as it should be."""

import os
import shlex
import threading
import time
from contextlib import chdir, suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from guided_dip.batch.entries import Counts
from guided_dip.batch.work import Event, Reached
from guided_dip.cli import run
from guided_dip.errors import InputError, RunError
from guided_dip.images import read
from guided_dip.web.jobs import NotReadyError, QueueFullError, UnknownJobError
from guided_dip.web.limits import Limits
from guided_dip.web.models import JobSettings
from guided_dip.web.queue import asking, begin, engine
from guided_dip.web.queue.course import Course
from guided_dip.web.queue.data import Data
from guided_dip.web.queue.manager import JobManager, read_curve
from guided_dip.web.queue.records import safe_name
from web_work import FEW, LONG, PATIENCE, computing, ended, follow, job, noisy, upload


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    """Two processes for all tests, as each takes seconds to load PyTorch."""
    patch = pytest.MonkeyPatch()
    patch.setattr(asking, "PREVIEW_EVERY", 0.1)
    patch.setattr(asking, "TOLD_EVERY", 0.0)
    folder = tmp_path_factory.mktemp("server") / "data"
    with JobManager(folder, Limits(), workers=2, figures=False, warm=True) as made:
        yield made
    patch.undo()


@pytest.fixture
def idle(tmp_path):
    """A manager whose processes are never started, as nothing is given to them."""
    with JobManager(tmp_path / "data", Limits(waiting=3, waiting_each=2), workers=1) as made:
        made._engine.enrol = lambda name: None
        yield made


def folder_of(manager, state):
    return manager._data.job(state.id)


def workers(manager):
    """Return the processes that are at something."""
    executor = manager._engine._coordinator.executor
    return {next(iter(left)): worker.pid for worker, left in executor._left.items() if left}


def is_gone(pid):
    with suppress(OSError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    return True


def beside(manager, state, place):
    """Put a job's files where its command wants them."""
    folder = folder_of(manager, state)
    place.mkdir()
    for file in manager._book.find(state.id).record.files.values():
        (place / file.name).write_bytes((folder.path / file.file).read_bytes())
    return place


# What comes of a job


def of_kind(kind, folder):
    """Return a job of a kind."""
    if kind == "16 bits":
        return job(folder, noisy(dtype=np.uint16), form="TIFF", name="deep & dark.tif")
    if kind == "mask":
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 5:10] = 255
        files = {"mask": upload(folder, mask, "hole.png")}
        return job(folder, settings={**FEW, "noise": "none"}, files=files)
    if kind == "region":
        return job(folder, noisy((24, 20)), settings={**FEW, "region": "2,3,16,16", "seed": 3})
    if kind == "pages":
        pages = np.stack([noisy(channels=1, seed=seed) for seed in range(2)])
        settings = {"effort": "fast", "settings": {"steps": 10}, "noise": "gaussian:20"}
        return job(folder, pages, settings, form="TIFF", name="z.tif", pages=2)
    if kind == "joint":
        pages = np.stack([noisy((32, 32), seed=seed) for seed in range(2)])
        settings = {**FEW, "noise": "gaussian:20", "joint": True}
        return job(folder, pages, settings, form="TIFF", name="z.tif", pages=2)
    if kind == "page":
        pages = np.stack([noisy(seed=seed) for seed in range(2)])
        return job(folder, pages, {**FEW, "page": 1}, form="TIFF", name="z.tif", pages=2)
    if kind.startswith("dim"):  # whose parts alone would have other whites
        dim = np.stack([noisy((24, 20), 1, np.uint16, seed) // np.uint16(20) for seed in range(2)])
        dim[0] //= 8
        if kind == "dim pages":
            return job(folder, dim, FEW, form="TIFF", name="z.tif", pages=2)
        if kind == "dim page":
            settings = {**FEW, "page": 0, "white": "auto"}
            return job(folder, dim, settings, form="TIFF", name="z.tif", pages=2)
        if kind == "dim, stated":
            return job(folder, dim[0], {**FEW, "white": 1000}, form="TIFF", name="a.tif")
        dim[0, 0, 0] = 4000
        if kind == "dim region":
            mask = np.zeros((24, 20), np.uint8)
            mask[4:9, 5:10] = 255
            files = {"mask": upload(folder, mask, "hole.png")}
            settings = {**FEW, "region": "2,3,16,16"}
            return job(folder, dim[0], settings, files=files, form="TIFF", name="a.tif")
        gain = upload(folder, np.full((24, 20), 3000, np.uint16), "flat.tif", "TIFF")
        settings = {**FEW, "noise": "gaussian:5"}
        return job(folder, dim[0], settings, files={"gain": gain}, form="TIFF", name="a.tif")
    if kind == "small":
        return job(folder, settings={**FEW, "scale": 2})
    if kind == "jpeg":
        settings = {**FEW, "task": "dejpeg"}
        return job(folder, noisy((32, 24)), settings, form="JPEG", name="a.jpeg")
    if kind == "blur":
        return job(folder, settings={**FEW, "kernel": "gaussian:1", "noise": "gaussian:5"})
    if kind == "kernel":
        kernel = np.zeros((3, 3), np.uint8)
        kernel[1] = 100
        files = {"kernel": upload(folder, kernel, "kernel.png")}
        return job(folder, settings={**FEW, "noise": "gaussian:5"}, files=files)
    if kind == "gain":
        files = {"gain": upload(folder, np.full((16, 16), 200, np.uint8), "gain.png")}
        return job(folder, settings={**FEW, "noise": "gaussian:5"}, files=files)
    return job(folder, settings={**FEW, "strength": 0.75}, name="../a 'b' $(c).exe")


KINDS = (
    *("plain", "16 bits", "mask", "region", "pages", "joint", "page"),
    *("small", "jpeg", "blur", "kernel", "gain"),
    *("dim pages", "dim page", "dim, stated", "dim region", "dim gain"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_makes_the_same_bytes_and_the_lines_the_same_pixels(manager, tmp_path, kind):
    state = ended(manager, manager.begin(of_kind(kind, tmp_path), "me"))
    assert state.status == "done", state.reason
    result = manager.view(state.id, "me", "result").read_bytes()
    with chdir(beside(manager, state, tmp_path / "command")):
        words = shlex.split(state.command)
        assert words[:2] == ["guided-dip", "restore"]
        assert run([*words[1:], "--quiet"]) == 0
        assert Path(state.file_name).read_bytes() == result
    with chdir(beside(manager, state, tmp_path / "lines")):
        exec(compile(state.python, "lines", "exec"), {})
        for page in range(state.outcome.pages):
            one = page if state.outcome.pages > 1 else None
            lines, own = (
                read(path, page=one).pixels
                for path in (state.file_name, manager.view(state.id, "me", "result"))
            )
            assert lines.dtype == own.dtype
            assert np.array_equal(lines, own)


def test_what_came_of_a_job_is_told_and_shown(manager, tmp_path):
    pixels = noisy((18, 16), dtype=np.uint16)
    clean = upload(tmp_path, np.full_like(pixels, 32768), "clean.tif", "TIFF")
    new = job(tmp_path, pixels, form="TIFF", name="a.tif", files={"clean": clean})
    state = ended(manager, manager.begin(new, "me"))
    outcome = state.outcome
    assert (state.status, state.name, state.file_name) == ("done", "a.tif", "a-restored.tif")
    assert (outcome.width, outcome.height, outcome.channels, outcome.pages) == (16, 18, 3, 1)
    assert (outcome.format, outcome.media_type, outcome.bits) == ("TIFF", "image/tiff", 16)
    assert outcome.noise.startswith("Gaussian noise, sigma ")
    assert outcome.noise.endswith(", estimated")
    assert not outcome.is_estimate
    assert outcome.psnr > outcome.psnr_before > 10
    assert state.progress.share == 1
    assert state.progress.step == state.progress.steps == 12
    assert state.created <= state.began <= state.ended
    shown = {"input", "result", "restored", "residual", "spread", "clean"}
    assert set(outcome.views) == shown
    assert tifffile.imread(manager.view(state.id, "me", "result")).dtype == np.uint16
    for view in shown - {"result"}:
        with Image.open(manager.view(state.id, "me", view)) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (16, 18), "RGB")
    residual = np.asarray(Image.open(manager.view(state.id, "me", "residual")), float)
    assert abs(residual.mean() - 127.5) < 10  # nothing taken away is gray
    curve = manager.curve(state.id, "me")
    assert curve.step == tuple(range(12))
    assert len(curve.loss) == len(curve.psnr) == 12
    assert (manager.run_folder(state.id, "me") / "summary.json").is_file()
    with pytest.raises(NotReadyError, match="there is no preview of this job: it is done"):
        manager.view(state.id, "me", "preview")
    names = {path.name for path in folder_of(manager, state).path.iterdir()}
    assert not names & {"work", "enough"}


def test_the_estimate_is_seen_while_it_gets_better(manager, tmp_path):
    state = manager.begin(job(tmp_path, noisy((32, 32)), LONG), "me")
    shown, states = set(), [state]

    def seen(state):
        states.append(state)
        if state.progress.preview:
            shown.add(manager.view(state.id, "me", "preview").read_bytes())
        return len(shown) > 2

    state = follow(manager, state, seen)[-1]
    assert manager.curve(state.id, "me").step[0] == 0
    assert all(picture.startswith(b"\x89PNG") for picture in shown)
    versions = [state.version for state in states[:-1]]
    assert versions == sorted(versions)
    shares = [state.progress.share for state in states]
    assert shares == sorted(shares)
    assert (state.progress.stages, state.progress.steps) == (50, 4000) or state.progress.stages > 0
    assert state.status == "running"
    manager.remove(state.id, "me")


def test_a_job_that_is_stopped_has_its_estimate_as_result(manager, tmp_path):
    new = job(tmp_path, noisy(dtype=np.uint16, channels=1), LONG, form="TIFF", name="a.tif")
    state = computing(manager, manager.begin(new, "me"))
    assert manager.stop(state.id, "me").status == "stopping"
    state = ended(manager, state)
    assert (state.status, state.outcome.is_estimate) == ("done", True)
    assert "as was asked" in state.outcome.note
    assert state.progress.step < state.progress.steps
    result = tifffile.imread(manager.view(state.id, "me", "result"))
    assert (result.dtype, result.shape) == (np.uint16, (16, 16))
    for call in (manager.stop, manager.cancel):
        with pytest.raises(NotReadyError, match="the job has ended already: it is done"):
            call(state.id, "me")


def test_a_stack_that_is_stopped_keeps_the_pages_that_are_left_as_they_are(manager, tmp_path):
    pages = np.stack([noisy(channels=1, seed=seed) for seed in range(3)])
    new = job(tmp_path, pages, LONG, form="TIFF", name="a.tif", pages=3)
    state = computing(manager, manager.begin(new, "me"))
    manager.stop(state.id, "me")
    state = ended(manager, state)
    assert (state.status, state.outcome.pages, state.outcome.is_estimate) == ("done", 3, True)
    result = tifffile.imread(manager.view(state.id, "me", "result"))
    assert (result[1:] == pages[1:]).all()
    assert (result[0] != pages[0]).any()


# Ends


def test_a_job_that_is_cancelled_is_gone_at_once_and_no_other_notices(manager, tmp_path):
    other = manager.begin(job(tmp_path, settings={"effort": "fast", "settings": {"steps": 30}}), "")
    state = computing(manager, manager.begin(job(tmp_path, settings=LONG), "me"))
    pid = next(pid for name, pid in workers(manager).items() if state.id in name)
    began = time.monotonic()
    state = manager.cancel(state.id, "me")
    assert time.monotonic() - began < 2
    assert is_gone(pid)
    assert (state.status, state.outcome, state.reason) == ("cancelled", None, "")
    assert {path.name for path in folder_of(manager, state).path.iterdir()} == {"job.json", "owner"}
    assert ended(manager, other, "").status == "done"
    for view in ("input", "result", "preview"):
        with pytest.raises(NotReadyError):
            manager.view(state.id, "me", view)
    with pytest.raises(NotReadyError):
        manager.run_folder(state.id, "me")
    assert manager.curve(state.id, "me").step == ()
    again = ended(manager, manager.begin(job(tmp_path), "me"))  # by the process that came for it
    assert again.status == "done"


def test_what_waits_has_a_place_and_can_be_cancelled_there(manager, tmp_path):
    busy = [manager.begin(job(tmp_path, settings=LONG), "me") for _ in range(2)]
    for state in busy:
        follow(manager, state, lambda state: state.status == "running")
    first, second = (manager.begin(job(tmp_path, settings=LONG), "me") for _ in range(2))
    assert (first.place, second.place) == (1, 2)
    assert manager.cancel(first.id, "me").status == "cancelled"
    moved = manager.state(second.id, "me")
    assert (moved.place, moved.version > second.version) == (1, True)
    assert manager.stop(second.id, "me").status == "cancelled"  # it has got to nothing
    assert manager._book.active("me") == [manager._book.find(state.id) for state in busy]
    for state in busy:
        manager.remove(state.id, "me")
        with pytest.raises(UnknownJobError):
            manager.state(state.id, "me")
        assert not folder_of(manager, state).path.exists()


def test_a_job_that_takes_too_long_fails(manager, tmp_path):
    state = computing(manager, manager.begin(job(tmp_path, settings=LONG), "me"))
    pid = next(pid for name, pid in workers(manager).items() if state.id in name)
    manager._engine.end(manager._book.find(state.id).record.image, "took longer than 5 s: try less")
    state = ended(manager, state)
    assert (state.status, state.reason) == ("failed", "took longer than 5 s: try less")
    assert is_gone(pid)


def test_what_takes_too_long_is_found(idle, tmp_path):
    live = idle._book.find(idle.begin(job(tmp_path), "me").id)
    limits = Limits(seconds=10)
    course = Course(idle._data, idle._book, idle._store, limits, 1)
    name = live.record.image
    assert course.overdue() == []
    course.heard(Event("given", name), None)
    course.heard(Event("begun", name), None)
    course.heard(Event("step", name, share=0.1, at=Reached(1, 9, 1, 1, 0.1, 69.0)), None)
    assert course.overdue() == []
    course.heard(Event("step", name, share=0.1, at=Reached(1, 9, 1, 1, np.nan, 71.0)), None)
    ((found, reason),) = course.overdue()
    assert (found, live.progress.loss) == (live, None)
    assert reason.startswith("took longer than the 10 s that a job may take here: try")
    live.progress, live.computing = type(live.progress)(), None
    live.record.began = time.time() - 100  # it may wait for memory that another has
    assert course.overdue() == []
    live.record.began = time.time() - 200
    assert len(course.overdue()) == 1


def test_what_is_no_picture_fails_in_the_words_of_its_user(manager, tmp_path):
    new = job(tmp_path, name="my photo.png")
    new.files["image"].path.write_bytes(b"\x89PNG\r\n\x1a\n, and nothing more")
    state = ended(manager, manager.begin(new, "me"))
    assert state.status == "failed"
    assert state.reason.startswith("my photo.png: damaged")
    assert str(manager._data.folder) not in state.reason
    assert not folder_of(manager, state).work.exists()


# What is taken and what is not


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"settings": {"device": "cuda:0"}}, "device is the server's own setting: leave it out"),
        ({"settings": {"threads": 64}}, "threads is the server's own"),
        ({"settings": {"max_memory": "1TB"}}, "max_memory is the server's own"),
        ({"settings": {"tile": 100000}}, "tile is the server's own"),
        ({"settings": {"pages": 3}}, "pages cannot be set: try joint"),
        ({"settings": {"backbone": "os:system"}}, "only the project's own networks"),
        ({"settings": {"steps": 10**9}}, "steps cannot be 1000000000: at most 1,000,000 here"),
        ({"settings": {"count": 10**6}}, "count cannot be"),
        ({"settings": {"colour": 1}}, "unknown setting 'colour'"),
        ({"settings": {"backbone_options": "x"}}, "backbone_options cannot be"),
        ({"noise": "gauss:3"}, "unknown kind 'gauss'"),
        ({"effort": "much"}, "effort cannot be 'much'"),
        ({"effort": "fast", "preset": "report"}, "--effort and --preset are both given"),
        ({"preset": "mine"}, "unknown preset 'mine'"),
        ({"kernel": "/etc/passwd"}, "kernel '/etc/passwd': try gaussian:SIGMA"),
        ({"joint": True}, "--joint: a.png has one page; leave it out"),
        ({"page": 1}, "page 1: a.png has pages 0 to 0"),
        ({"region": "1,2"}, "--region 1,2: try X,Y,WIDTH,HEIGHT"),
        ({"time_budget": 1e6}, "more than the 3600 s a job may take here"),
        ({"scale": 8, "task": "super-resolve"}, "more than the 10,000 allowed here"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(tmp_path, settings, text):
    new = job(tmp_path, settings=settings, name="a.png")
    with pytest.raises(InputError, match=text):
        asking.check(new, Limits(pixels=10_000))


def test_what_is_refused_leaves_nothing(idle, tmp_path):
    new = job(tmp_path, settings={"settings": {"device": "cpu"}})
    with pytest.raises(InputError):
        idle.begin(new, "me")
    assert not new.files["image"].path.exists()
    assert list(idle._data.ids()) == []


def test_a_picture_of_another_format_is_refused(tmp_path):
    new = job(tmp_path, name="a.gif")
    files = {"image": type(new.files["image"])(new.files["image"].path, "a.gif", "GIF", 8, 8, 3)}
    with pytest.raises(InputError, match=r"a\.gif: no GIF is restored here; try PNG or TIFF"):
        asking.check(type(new)(files, JobSettings()), Limits())


def test_there_are_only_so_many_jobs(idle, tmp_path):
    for _ in range(2):
        idle.begin(job(tmp_path), "one")
    with pytest.raises(QueueFullError, match="2 of your jobs have not ended") as raised:
        idle.begin(job(tmp_path), "one")
    assert raised.value.retry_after > 0
    idle.begin(job(tmp_path), "two")
    with pytest.raises(QueueFullError, match="3 jobs wait or are computed already"):
        idle.begin(job(tmp_path), "three")
    assert list(tmp_path.glob("arrived-*")) == []
    assert idle.counts() == Counts(queued=3)


def test_many_that_come_at_once_are_no_more_than_there_may_be(idle, tmp_path):
    new = [job(tmp_path) for _ in range(12)]
    taken, refused = [], []

    def begin(number):
        try:
            taken.append(idle.begin(new[number], str(number)))
        except QueueFullError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (len(taken), len(refused)) == (3, 9)
    assert len(list(idle._data.ids())) == 3


def test_no_owner_sees_or_ends_what_is_another_s(idle, tmp_path):
    state = idle.begin(job(tmp_path), "me")
    calls = (idle.state, idle.stop, idle.cancel, idle.remove, idle.curve, idle.run_folder)
    for call in calls:
        with pytest.raises(UnknownJobError):
            call(state.id, "you")
    with pytest.raises(UnknownJobError):
        idle.view(state.id, "you", "input")
    with pytest.raises(UnknownJobError):
        idle.wait(state.id, "", 0, 0)
    assert idle.states("you") == []
    assert [each.id for each in idle.states("me")] == [state.id]
    assert "me" not in folder_of(idle, state).owner.read_text()
    for unknown in ("0" * 32, "../..", "x"):
        with pytest.raises(UnknownJobError):
            idle.state(unknown, "me")


def test_who_listens_or_waits_hears_of_changes(idle, tmp_path):
    heard = []

    def fails(_):
        raise ZeroDivisionError

    ends = [idle.listen(fails), idle.listen(heard.append)]
    state = idle.begin(job(tmp_path), "me")
    assert heard == [state.id]
    assert idle.wait(state.id, "me", state.version, 0) == state
    waiting = threading.Timer(0.05, lambda: idle._book.tell(idle._book.find(state.id)))
    waiting.start()
    assert idle.wait(state.id, "me", state.version, PATIENCE).version > state.version
    for end in ends:
        end()
    assert idle.cancel(state.id, "me").status == "cancelled"
    assert len(heard) == 2


def test_the_folder_is_the_user_s_alone_and_its_names_are_ours(idle, tmp_path):
    state = idle.begin(job(tmp_path, name="../../etc/passwd"), "me")
    folder = folder_of(idle, state).path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert idle._data.folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {"image.png", "job.json", "owner"}
    assert state.file_name == "passwd-restored.png"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("C:\\x\\é tude.jpeg", "é tude.png"),
        ("-rf", "rf.png"),
        ("\0\n..", "__.png"),
        ("...", "image.png"),
        ("a" * 300, f"{'a' * 80}.png"),
        (".hidden", "hidden.png"),
    ],
)
def test_a_name_is_made_safe(tmp_path, name, safe):
    assert safe_name(upload(tmp_path, noisy(), name), "image") == safe


def test_files_of_one_name_are_told_apart(idle, tmp_path):
    files = {
        "clean": upload(tmp_path, noisy(), "a-restored.png"),
        "mask": upload(tmp_path, noisy(channels=1), "a.png"),
    }
    state = idle.begin(job(tmp_path, name="a.png", files=files), "me")
    words = shlex.split(state.command)
    assert words[words.index("--mask") + 1] == "mask-a.png"
    assert words[words.index("--clean") + 1] == "a-restored.png"
    assert state.file_name == "a-restored-anew.png"


# The disk


def test_old_jobs_go_and_the_oldest_make_room(tmp_path):
    limits = Limits(stored=4000, keep=1000)
    with JobManager(tmp_path / "data", limits, workers=1) as manager:
        manager._engine.enrol = lambda name: None
        states = [manager.begin(job(tmp_path, noisy((8, 8))), "me") for _ in range(2)]
        for state in states:
            manager.cancel(state.id, "me")
        for state in states:
            manager._book.find(state.id).size = 1900
        third = manager.begin(job(tmp_path, noisy((8, 8))), "me")
        assert [state.id for state in manager.states("me")] == [third.id, states[1].id]
        manager._book.find(third.id).size = 3990
        with pytest.raises(QueueFullError, match="take all of the disk that they may"):
            manager.begin(job(tmp_path, noisy((8, 8))), "me")
        manager.cancel(third.id, "me")
        manager._book.find(third.id).record.ended -= 1001
        manager._store._next_sweep = 0.0
        manager._store.sweep()
        assert manager.states("me") == []
        assert list(manager._data.ids()) == []


def test_a_job_that_cannot_be_written_is_none(idle, tmp_path, monkeypatch):
    def full(*_):
        raise RunError("no space left") from OSError(28, "No space left on device")

    monkeypatch.setattr(begin.Record, "write", full)
    with pytest.raises(QueueFullError, match="cannot be written, as the server's disk is full"):
        idle.begin(job(tmp_path), "me")
    assert list(idle._data.ids()) == []
    assert idle.states("me") == []
    monkeypatch.undo()
    idle.begin(job(tmp_path), "me")


class Full:
    """An executor on a full disk, until there is room."""

    room_again = threading.Event()

    def __init__(self, orders, devices, memory, bell, warm):
        self.bell, self.given, self.stopping = bell, [], False

    def room(self):
        return 1 - len(self.given)

    def submit(self, items):
        self.given = [item.name for item in items]

    def wait(self, seconds):
        if self.room_again.is_set() and not self.stopping:
            self.bell.wait(seconds)
            return [Event("begun", name) for name in self.given]
        given, self.given = self.given, []
        kind = "cut" if self.stopping else "stuck"
        return [Event(kind, name, "No space left on device") for name in given]

    def end(self, name):
        self.given.remove(name)

    def stop(self):
        self.stopping = True

    def close(self):
        pass


def test_a_full_disk_loses_no_job_and_ends_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "LocalExecutor", Full)
    monkeypatch.setattr(engine, "AGAIN", 0.2)
    Full.room_again.clear()
    with JobManager(tmp_path / "data", workers=1) as manager:
        state = manager.begin(job(tmp_path), "me")
        follow(manager, state, lambda _: manager._engine.stuck)
        with pytest.raises(QueueFullError, match="cannot write at present, as its disk is full"):
            manager.begin(job(tmp_path), "me")
        assert manager.is_healthy
        assert manager.state(state.id, "me").status in ("queued", "running")
        Full.room_again.set()
        follow(manager, state, lambda state: state.status == "running")
        assert manager.cancel(state.id, "me").status == "cancelled"
        assert manager.is_healthy


def test_a_manifest_that_cannot_be_written_for_a_while_loses_no_job(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "LocalExecutor", Full)
    monkeypatch.setattr(engine, "AGAIN", 0.1)
    Full.room_again.set()
    heard = []
    take_in = engine.Coordinator._take_in

    def fails_once(coordinator, events):
        if events and not heard:
            heard.append(events)
            raise RunError("the manifest cannot be written")
        take_in(coordinator, events)

    monkeypatch.setattr(engine.Coordinator, "_take_in", fails_once)
    with JobManager(tmp_path / "data", workers=1) as manager:
        state = manager.begin(job(tmp_path), "me")
        states = follow(manager, state, lambda state: bool(heard) and state.status == "queued")
        follow(manager, states[-1], lambda state: state.status == "running")
        assert manager.is_healthy


# The server


def test_one_server_at_a_time_is_at_work_in_a_folder(idle):
    other = JobManager(idle._data.folder, workers=1)
    with pytest.raises(InputError, match="another call is serving from it"), other:
        pass
    assert not other.is_healthy
    assert idle.is_healthy


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place, text in ((tmp_path / "file", "is no folder"), (tmp_path / "a" / "b", "no folder")):
        with pytest.raises(InputError, match=text), JobManager(place):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_seen(tmp_path, monkeypatch):
    manager = JobManager(tmp_path / "data", workers=1)
    with manager:
        assert manager.is_healthy

        def bug():
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(manager._store, "sweep", bug)
        manager._engine._thread.join(PATIENCE)
        assert not manager.is_healthy
        with pytest.raises(QueueFullError, match="has to be restarted"):
            manager.begin(job(tmp_path), "me")


def test_a_curve_that_is_being_written_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_curve(path).step == ()
    lines = [
        f'{{"step": {k}, "loss": {1 / (k + 1)}, "psnr": {20 + k / 1000}}}' for k in range(1000)
    ]
    lines[8] = '{"step": 8, "loss": "inf", "psnr": null}'
    path.write_text("\n".join([*lines, '{"step": 1000, "lo']))
    curve = read_curve(path)
    assert curve.step[0] == 0
    assert 8 not in curve.step
    assert curve.step == tuple(sorted(curve.step))
    assert 200 < len(curve.step) == len(curve.loss) == len(curve.psnr) <= 301


def test_ids_are_the_server_s_own(tmp_path):
    with pytest.raises(AssertionError):
        Data(tmp_path).job("../x")
