"""The command `guided-dip batch` with real processes, real signals and real kills."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from guided_dip.batch.entries import Counts
from guided_dip.batch.place import FOLDER, Place
from guided_dip.batch.progress import Progress
from guided_dip.batch.reading import Reading
from guided_dip.cli import run
from guided_dip.cli.many import batch_progress, counted_progress
from guided_dip.images import Picture, read, write, write_stack

NETWORK = "backbone_options={width: 4}"
QUICK = ["--noise", "gaussian:25", "--steps", "4", "--set", NETWORK, "--set", "threads=1"]
LONG = ["--noise", "gaussian:25", "--steps", "4000", "--set", NETWORK, "--set", "threads=1"]
ROOT = Path(__file__).parent.parent


def picture(seed=0, shape=(24, 24, 3), dtype=np.uint8):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0.5, 0.1, shape).clip(0, 1)
    return Picture((pixels * np.iinfo(dtype).max).astype(dtype))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Pictures of several kinds in folders, and the present folder."""
    monkeypatch.chdir(tmp_path)
    Path("frames/night one").mkdir(parents=True)
    write("frames/a.png", picture(0))
    write("frames/b.tif", picture(1, (20, 28), np.uint16))
    write("frames/night one/c #1.png", picture(2))
    Path("frames/notes.txt").write_text("no picture")
    return tmp_path


def batch(*arguments):
    return run(["batch", *map(str, arguments)])


def restored(folder="out"):
    """Return what was written, by name, as digests."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and FOLDER not in path.parts
    }


def times(folder="out"):
    return {
        path: path.stat().st_mtime_ns
        for path in Path(folder).rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def entries(folder="out"):
    with Reading(Place(Path(folder).absolute())) as reading:
        return {entry.name: entry for entry in reading.entries(None, 0, 1000)}


def begin(*arguments, **options):
    command = [sys.executable, "-m", "guided_dip", "batch", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(FileNotFoundError):  # of a folder that goes while it is looked at
            if condition():
                return
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def states(folder="out"):
    try:
        return [entry.state for entry in entries(folder).values()]
    except ValueError:  # no manifest yet
        return []


def checkpoints(folder="out"):
    return list(Path(folder, FOLDER, "work").glob("*/.partial/checkpoint*"))


# From a tree of pictures to a tree of restorations


def test_a_tree_is_mirrored_and_what_is_done_is_skipped(here, capsys):
    before = {path: path.read_bytes() for path in Path("frames").rglob("*") if path.is_file()}
    assert batch("frames", "-o", "out", *QUICK) == 0
    out, err = capsys.readouterr()
    assert out == f"{here}/out: 3 done\n"
    assert f"{here}/out: 3 new\n" in err
    assert set(restored()) == {"a.png", "b.tif", "night one/c #1.png"}
    for name in restored():
        source, result = read(Path("frames", name)), read(Path("out", name))
        assert result.pixels.shape == source.pixels.shape
        assert result.pixels.dtype == source.pixels.dtype
        assert (result.pixels != source.pixels).any()
    assert {path: path.read_bytes() for path in before} == before
    assert not Path("out", FOLDER, "work").exists()

    first = times()
    assert batch("frames", "-o", "out", *QUICK) == 0
    assert "3 done already" in capsys.readouterr().err
    assert times() == first


def test_the_bytes_are_those_of_restore(here):
    assert batch("frames", "-o", "out", *QUICK) == 0
    for name in ("a.png", "b.tif"):
        assert run(["restore", f"frames/{name}", "-o", name, *QUICK, "--quiet"]) == 0
        assert Path(name).read_bytes() == Path("out", name).read_bytes()


def test_only_what_has_changed_is_restored_anew(here, capsys):
    assert batch("frames", "-o", "out", *QUICK) == 0
    first, digests = times(), restored()
    write("frames/a.png", picture(9), overwrite=True)
    os.utime("frames/b.tif", ns=(1, 1))  # another time, the same content
    Path("out/night one/c #1.png").unlink()
    capsys.readouterr()
    assert batch("frames", "-o", "out", *QUICK) == 0
    assert "2 changed, 1 done already" in capsys.readouterr().err
    again = times()
    assert again[Path("out/b.tif")] == first[Path("out/b.tif")]
    assert again[Path("out/a.png")] != first[Path("out/a.png")]
    assert restored()["a.png"] != digests["a.png"]
    assert restored()["night one/c #1.png"] == digests["night one/c #1.png"]


def test_other_settings_restore_anew_and_elsewhere_ones_do_not(here, capsys):
    assert batch("frames/a.png", "-o", "out", *QUICK) == 0
    first = restored()
    assert batch("frames/a.png", "-o", "out", *QUICK, "--seed", "1") == 0
    assert restored() != first
    second = times()
    capsys.readouterr()
    changes = ["--seed", "1", "--checkpoint-every", "5", "--workers", "1"]
    assert batch("frames/a.png", "-o", "out", *QUICK, *changes) == 0
    assert "1 done already" in capsys.readouterr().err
    assert times() == second


def test_stacks_formats_and_overwrite(here, capsys):
    write_stack("frames/stack.tif", [picture(k, (24, 24)) for k in range(2)], like="frames/b.tif")
    arguments = ["frames/stack.tif", "frames/a.png", "-o", "out", *QUICK]
    assert batch(*arguments, "--format", "tif") == 0
    assert set(restored()) == {"a.tif", "stack.tif"}
    done = entries()["stack.tif"].done
    assert (done.pages, done.width, done.height) == (2, 24, 24)
    first = times()
    assert batch(*arguments, "--format", "tif", "--overwrite") == 0
    assert all(time != first[path] for path, time in times().items())


def test_patterns_of_our_own_and_a_root(here):
    assert batch("frames/**/*.png", "-o", "out", "--root", "frames", *QUICK) == 0
    assert set(restored()) == {"a.png", "night one/c #1.png"}
    assert batch("frames/b.tif", "-o", "out", *QUICK) == 0  # the root is kept
    assert set(restored()) == {"a.png", "b.tif", "night one/c #1.png"}


# What goes wrong


def test_one_bad_file_stops_no_other(here, capsys):
    Path("frames/broken.png").write_bytes(Path("frames/a.png").read_bytes()[:100])
    Path("frames/empty.tif").touch()
    Path("frames/text.jpg").write_text("no picture")
    assert batch("frames", "-o", "out", *QUICK) == 1
    out, err = capsys.readouterr()
    assert out == f"{here}/out: 3 done, 3 failed\n"
    assert f"3 of 6 pictures failed: {here}/frames/broken.png: " in err
    assert err.count("guided-dip: error: ") == 1
    failed = {name: entry.reason for name, entry in entries().items() if entry.state == "failed"}
    assert "the file is empty" in failed["empty.tif"]
    assert "not a picture" in failed["text.jpg"]
    assert "failed: " in Path("out", FOLDER, "logs", "broken.png.log").read_text()
    assert set(restored()) == {"a.png", "b.tif", "night one/c #1.png"}

    assert batch("status", "out") == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{here}/out: 3 done, 3 failed")
    assert all(f"\n  failed: {reason}" in told for reason in failed.values())  # each has its path
    assert batch("status", "out", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["done"], said["failed"], said["left"], said["total"]) == (3, 3, 0, 6)
    assert {each["name"] for each in said["failures"]} == set(failed)

    first = times()
    assert batch("frames", "-o", "out", *QUICK) == 1
    assert "3 done already, 3 failed before" in capsys.readouterr().err
    write("frames/broken.png", picture(5), overwrite=True)
    assert batch("retry", "out") == 1
    assert "3 that failed and 0 others" in capsys.readouterr().err
    assert [name for name, entry in entries().items() if entry.state == "failed"] == [
        "empty.tif",
        "text.jpg",
    ]
    assert {path: time for path, time in times().items() if path in first} == first


def test_failing_fast(here, capsys):
    Path("frames/0 broken.png").write_bytes(b"no picture")
    assert batch("frames", "-o", "out", *LONG, "--workers", "1", "--fail-fast") == 1
    assert f"1 of 4 pictures failed: {here}/frames/0 broken.png: " in capsys.readouterr().err
    assert sorted(states()) == ["failed", "queued", "queued", "queued"]


def test_files_of_others_are_left_alone(here, capsys):
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"of somebody else")
    assert batch("frames", "-o", "out", *QUICK) == 1
    assert f"1 of 3 pictures failed: {here}/out/a.png: exists already" in capsys.readouterr().err
    assert Path("out/a.png").read_bytes() == b"of somebody else"
    assert batch("frames", "-o", "out", *QUICK, "--overwrite") == 0
    assert read("out/a.png").pixels.shape == (24, 24, 3)


def test_what_is_left_may_still_replace_files(here, capsys):
    Path("out").mkdir()
    Path("out/b.tif").write_bytes(b"of somebody else")
    good = Path("frames/a.png").read_bytes()
    Path("frames/a.png").write_bytes(b"no picture")
    cut = [*QUICK, "--overwrite", "--fail-fast", "--workers", "1"]
    assert batch("frames", "-o", "out", *cut) == 1
    assert entries()["b.tif"].state == "queued"
    Path("frames/a.png").write_bytes(good)
    assert batch("retry", "out") == 0, capsys.readouterr().err
    assert read("out/b.tif").pixels.shape == (20, 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frames"], "missing option '--output'"),
        (["nowhere", "-o", "out"], "nowhere: no such file or folder"),
        (["frames/*.bmp", "-o", "out"], "frames/*.bmp: nothing matches"),
        (["frames", "-o", "no/out"], "there is no folder"),
        (["frames", "-o", "frames/a.png"], "is no folder"),
        (["frames", "-o", "out", "--shard", "3/2"], "--shard 3/2: is no part of a whole"),
        (["frames", "-o", "out", "--format", "gif"], "--format gif: is none"),
        (["frames", "-o", "out", "--executor", "cloud"], "--executor cloud: is none"),
        (["frames", "-o", "out", "--mask", "no.png", "--task", "inpaint"], "no.png: no such file"),
        (["frames", "-o", "out", "--root", "out2"], "--root out2: is no folder"),
        (["frames", "-o", "out", "--effort", "huge"], "effort cannot be 'huge'"),
        (["status", "frames"], "holds no batch"),
        (["retry", "frames"], "holds no batch"),
        (["report", "frames"], "holds no batch"),
        (["frames", "-o", "out", "--max-memory", "much"], "is no amount of memory"),
    ],
)
def test_refusals_are_one_line(here, capsys, arguments, message):
    assert batch(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert restored("frames").keys() == {"a.png", "b.tif", "night one/c #1.png", "notes.txt"}


def test_sources_are_never_written_among(here, capsys):
    assert batch("frames", "-o", "frames", *QUICK) == 2
    assert "is the folder of the sources; try another OUTDIR" in capsys.readouterr().err
    assert batch("frames", "-o", "frames/restored", *QUICK) == 0
    assert set(restored("frames/restored")) == {"a.png", "b.tif", "night one/c #1.png"}


def test_a_damaged_manifest_is_one_line(here, capsys):
    assert batch("frames/a.png", "-o", "out", *QUICK) == 0
    Path("out", FOLDER, "manifest.sqlite").write_bytes(b"no manifest" * 1000)
    capsys.readouterr()
    for arguments in (["frames", "-o", "out", *QUICK], ["status", "out"], ["report", "out"]):
        assert batch(*arguments) == 2
        err = capsys.readouterr().err
        assert "manifest.sqlite" in err
        assert err.count("\n") == 1
    assert set(restored()) == {"a.png"}


def test_a_file_that_vanishes_and_one_that_changes(here, capsys):
    write("frames/0.png", picture(6, (96, 96, 3)))  # this one takes a while
    write("frames/z.png", picture(7))
    process = begin("frames", "-o", "out", *LONG, "--steps", "300", "--workers", "1", "--quiet")
    wait_for(lambda: "running" in states())
    Path("frames/z.png").unlink()
    write("frames/night one/c #1.png", picture(8), overwrite=True)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "z.png: no such file" in err
    assert sorted(states()) == ["done"] * 4 + ["failed"]
    assert batch("frames", "-o", "out", *LONG, "--steps", "300", "--workers", "1") == 1
    digest = hashlib.sha256(Path("frames/night one/c #1.png").read_bytes()).hexdigest()
    assert entries()["night one/c #1.png"].done.content == digest


# Signals, kills and company


def test_interrupted_twice_it_stops_and_goes_on_to_the_same_bytes(here, tmp_path):
    arguments = [*LONG, "--steps", "1500", "--workers", "2", "--checkpoint-every", "0.2"]
    process = begin("frames", "-o", "out", *arguments)
    wait_for(lambda: len(checkpoints()) == 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; 3 pictures are left: the same command goes on" in err
    assert sorted(states()) == ["queued"] * 3
    assert restored() == {}
    assert all(entry.attempts == 0 for entry in entries().values())

    assert batch("frames", "-o", "out", *arguments) == 0
    assert "going on with" in Path("out", FOLDER, "logs", "a.png.log").read_text()
    assert batch("frames", "-o", "calm", *arguments) == 0
    assert restored() == restored("calm")


def test_interrupted_once_it_finishes_what_it_began(here):
    arguments = [*LONG, "--steps", "500", "--workers", "1"]
    process = begin("frames", "-o", "out", *arguments)
    wait_for(lambda: "running" in states())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "finishing 1 picture, no more are begun; Ctrl-C again stops them" in err
    assert sorted(states()) == ["done", "queued", "queued"]


def test_what_is_left_of_another_command_keeps_its_settings(here, capsys):
    """A picture that is queued with other settings is none of the next command's."""
    process = begin("frames", "-o", "out", *LONG, "--workers", "1", "--quiet")
    wait_for(lambda: "running" in states())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    with Reading(Place(here / "out")) as reading:
        first = {entry.settings for entry in reading.entries(None, 0, 9)}
    write("frames/only.png", picture(3))
    capsys.readouterr()
    assert batch("frames/only.png", "-o", "out", *QUICK, "--workers", "1") == 0
    out, err = capsys.readouterr()
    assert "1 done\n" in out
    assert "3 pictures of earlier commands are left, with other settings" in err
    assert {entry.settings for entry in entries().values() if entry.state == "queued"} == first
    assert set(restored()) == {"only.png"}

    short = ["--steps", "5", "--noise", "gaussian:25", "--set", NETWORK, "--set", "threads=1"]
    assert batch("frames/a.png", "frames/b.tif", "-o", "out", *short) == 0  # anew, with others
    assert batch("frames/night one/c #1.png", "-o", "out", *QUICK, "--fail-fast") == 0
    assert {name: entry.state for name, entry in entries().items()} == dict.fromkeys(
        ["a.png", "b.tif", "night one/c #1.png", "only.png"], "done"
    )
    assert len({entry.settings for entry in entries().values()}) == 2


def test_retry_begins_each_picture_with_the_settings_it_had(here, capsys):
    for name, seed in (("a.png", "1"), ("b.tif", "2")):
        whole = Path("frames", name).read_bytes()
        Path("frames", name).write_bytes(b"torn")
        assert batch(f"frames/{name}", "-o", "out", "--root", "frames", *QUICK, "--seed", seed) == 1
        Path("frames", name).write_bytes(whole)
    capsys.readouterr()
    assert batch("retry", "out", "--workers", "1") == 0
    assert capsys.readouterr().out == f"{here}/out: 2 done\n"
    for name, seed in (("a.png", "1"), ("b.tif", "2")):
        arguments = [f"frames/{name}", "-o", name, *QUICK, "--seed", seed, "--quiet"]
        assert run(["restore", *arguments]) == 0
        assert Path(name).read_bytes() == Path("out", name).read_bytes()


def test_terminated_it_keeps_its_place(here):
    process = begin("frames", "-o", "out", *LONG, "--workers", "2", "--quiet")
    wait_for(lambda: states().count("running") == 2)
    time.sleep(4)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.count("\n") == 1
    assert sorted(states()) == ["queued"] * 3


def test_two_coordinators_and_a_reader(here, capsys):
    process = begin("frames", "-o", "out", *LONG, "--steps", "400", "--workers", "1", "--quiet")
    try:
        wait_for(lambda: "running" in states())
        for arguments in (["frames", "-o", "out", *QUICK], ["retry", "out"]):
            assert batch(*arguments) == 2
            assert "another call is restoring pictures there" in capsys.readouterr().err
        assert batch("status", "out") == 0
        assert "begun: " in capsys.readouterr().out
    finally:
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert states() == ["done"] * 3


def test_a_picture_that_kills_its_process_fails_in_the_end(here, capsys, monkeypatch):
    """Such as one for which there is not enough memory."""
    (here / "deadly.py").write_text(
        "import os, signal\ndef network(*_, **__):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(here))
    monkeypatch.syspath_prepend(str(here))
    observing = ["--supervision", "observation", "--backbone", "deadly:network", "--steps", "4"]
    assert batch("frames/a.png", "-o", "out", *observing, "--workers", "1") == 1
    err = capsys.readouterr().err
    assert "begun 4 times; the last time its process was killed by signal 9" in err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers in /proc")
def test_killed_at_random_every_picture_ends_the_same(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "batch_faults.py")]
    done = subprocess.run(
        [*command, "--pictures", "16", "--kills", "3", "--restarts", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["workers_killed"] >= 2
    assert told["coordinators_killed"] == 2
    assert told["done"] == told["rows"] == told["names"] == told["same_bytes"] == 16


def test_shards_part_the_work_and_the_whole_takes_them_over(here, capsys):
    for number in (1, 2, 3):
        assert batch("frames", "-o", "out", *QUICK, "--shard", f"{number}/3", "--quiet") == 0
    assert len(list(Path("out", FOLDER).glob("shard-*.sqlite"))) == 3
    assert set(restored()) == {"a.png", "b.tif", "night one/c #1.png"}
    assert batch("status", "out") == 0
    assert f"{here}/out: 3 done" in capsys.readouterr().out
    assert batch("frames", "-o", "out", *QUICK, "--shard", "1/2") == 2
    assert "is parted otherwise already" in capsys.readouterr().err
    first = times()
    assert batch("frames", "-o", "out", *QUICK) == 0
    assert "3 done already" in capsys.readouterr().err
    assert times() == first
    assert not list(Path("out", FOLDER).glob("shard-*.sqlite"))
    assert batch("frames", "-o", "out", *QUICK, "--shard", "1/2") == 2
    assert "is a batch that is not parted" in capsys.readouterr().err


def test_a_folder_that_fills_is_watched(here):
    process = begin(
        *("frames", "-o", "out", *QUICK, "--workers", "1", "--watch", "--watch-every", "0.2")
    )
    try:
        wait_for(lambda: states() == ["done"] * 3)
        shutil.copy("frames/a.png", "frames/late.png")
        wait_for(lambda: states() == ["done"] * 4)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert "late.png" in restored()


def test_runs_are_kept_and_a_page_is_made(here, capsys):
    assert batch("frames", "-o", "out", *QUICK, "--keep-runs") == 0
    from guided_dip.runs import load_run

    assert load_run(Path("out", FOLDER, "runs", "a.png")).summary.steps == 4
    assert Path("out", FOLDER, "runs", "night one", "c #1.png", "summary.json").is_file()
    capsys.readouterr()
    assert batch("report", "out") == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == here / "out" / FOLDER / "report" / "index.html"
    text = page.read_text()
    assert "night one/c #1.png" in text
    assert "night%20one/c%20%231.png" in text


def test_help_is_of_the_command_that_is_meant(capsys):
    for arguments in ([], ["--help"]):
        batch(*arguments)
        assert "--watch" in capsys.readouterr().out or arguments == []
    assert batch("status", "--help") == 0
    assert "OUTDIR" in capsys.readouterr().out


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def seen():
        out, err = capsys.readouterr()
        assert out == ""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err)

    def shown(**state):
        with batch_progress(quiet=False) as update:
            update(Progress(Counts(queued=2, running=1, done=4, failed=1), **state))
        return seen()

    usual = shown(per_hour=7.25, seconds_left=90.0)
    assert "4 done, 1 failed, 3 left" in usual
    assert "7.2 an hour, 1 min 30 s left" in usual
    assert "no pace yet" in shown()
    assert "waiting for more pictures" in shown(watching=True)
    assert "stopping: a step and a checkpoint each" in shown(stopping=True)
    draining = shown(per_hour=30.0, seconds_left=9.0, draining=True)
    assert "finishing 1 picture, no more are begun; Ctrl-C again stops them" in draining
    assert "9 s left of those that have begun" in draining

    with counted_progress("pictures drawn", quiet=False) as count:
        count(3, 8)
    assert "pictures drawn: 3/8" in seen()
