"""The command line, in one process where that will do: what it writes, says and refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from guided_dip.cli import app, main, run
from guided_dip.cli.console import tell
from guided_dip.cli.progress import Lines, progress, seconds_left
from guided_dip.cli.settings import make_settings
from guided_dip.cli.study import study_progress
from guided_dip.config import Config, make_config
from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError, InterruptionError, RunError
from guided_dip.guidance import make_plan
from guided_dip.images import Picture, read, write
from guided_dip.jobs.job import Job
from guided_dip.metrics import psnr
from guided_dip.restoration import Restoration
from guided_dip.result import Record
from guided_dip.runs import load_run
from guided_dip.words import duration, one_line

TINY = ["--steps", "3", "--set", "backbone_options={width: 4, scales: 2}", "--device", "cpu"]
PLAN = make_plan("recorrupted-guides", make_schedule(), steps=100, count=5, sigma=25 / 255)


def pixels(shape=(32, 32, 3), dtype=np.uint8):
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return random.random(shape).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a noisy and a clean picture, and the working directory in it."""
    monkeypatch.chdir(tmp_path)
    write("noisy.png", Picture(pixels()))
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3)
    write("clean.png", Picture(smooth.astype(np.uint8)))
    return tmp_path


def restore(*arguments):
    return run(["restore", "noisy.png", *TINY, *arguments])


def there(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_study_that_is_interrupted_says_how_to_go_on():
    for raised, code in ((KeyboardInterrupt, 130), (SystemExit, 143)):
        going_on = pytest.raises(InterruptionError, match="the same command goes on")
        with going_on as error, study_progress(quiet=True):
            raise raised
        assert 128 + error.value.signal == code


def test_a_long_list_is_left_out_where_the_nearest_is_named(here, capsys):
    assert restore("-o", "out.png", "--set", "stepz=10") == 2
    said = capsys.readouterr().err
    assert said == "guided-dip: error: unknown setting 'stepz': did you mean 'steps'?\n"


def test_the_command_to_go_on_has_what_it_needs():
    job = Job(Path("a b.png"), Path("c.png"), None, None, max_pixels=9, overwrite=True)
    assert job.going_on(Path("run")) == (
        "guided-dip restore 'a b.png' --resume run -o c.png --max-pixels 9 --overwrite"
    )


# restore: what it writes


def test_restore_writes_the_picture(here, capsys):
    assert restore("-o", "out.png") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"out.png: done in [\d.]+ s(; .+)?\n", out)
    assert re.fullmatch(
        r"noisy.png: 32x32 RGB uint8, noise gaussian:[\d.]+ \(estimated\); "
        r"recorrupted-guides, normfree, 3 steps on cpu\n",
        err,
    )
    restored = read("out.png").pixels
    assert restored.shape == (32, 32, 3)
    assert restored.dtype == np.uint8
    assert (restored != pixels()).any()
    assert there(here) == {"noisy.png", "clean.png", "out.png"}


def test_given_noise_is_not_called_estimated(here, capsys):
    assert restore("-o", "out.png", "--noise", "gaussian:20") == 0
    assert "noise gaussian:20;" in capsys.readouterr().err


def test_the_clean_picture_only_scores(here, capsys):
    assert restore("-o", "without.png") == 0
    capsys.readouterr()
    assert restore("-o", "with.png", "--clean", "clean.png", "--json") == 0
    assert Path("without.png").read_bytes() == Path("with.png").read_bytes()
    told = json.loads(capsys.readouterr().out)
    clean = read("clean.png").pixels / 255
    assert told["scores"]["psnr"] == pytest.approx(
        psnr(read("with.png").pixels / 255, clean, data_range=1.0), abs=0.05
    )
    assert told["scores_before"]["psnr"] == pytest.approx(
        psnr(pixels() / 255, clean, data_range=1.0), abs=1e-4
    )


def test_scores_are_told(here, capsys):
    assert restore("-o", "out.png", "--clean", "clean.png") == 0
    out = capsys.readouterr().out
    assert re.search(r"; PSNR [\d.]+ -> [\d.]+ dB, SSIM -?[\d.]+ -> -?[\d.]+(; .+)?\n$", out)
    assert "oracle" not in out


def test_the_same_seed_gives_the_same_bytes(here):
    assert restore("-o", "a.png", "--quiet") == 0
    assert restore("-o", "b.png", "--run-dir", "run") == 0
    assert restore("-o", "c.png", "--seed", "1") == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b == Path("run/restored.png").read_bytes()
    assert a != c


def test_a_run_folder_holds_everything(here, capsys):
    assert restore("-o", "out.png", "--run-dir", "run", "--clean", "clean.png") == 0
    assert capsys.readouterr().out.startswith("out.png and run: done in ")
    assert {path.name for path in Path("run").iterdir()} == {
        "restored.png",
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "pictures",
        "curves.png",
        "process.png",
        "comparison.png",
        "diagnosis.png",
    }
    saved = load_run(Path("run"))
    assert len(saved.records) == saved.summary.steps == 3
    assert all(record.psnr is not None for record in saved.records)
    assert saved.summary.noise_estimated


def test_a_run_folder_is_enough(here):
    assert restore("--run-dir", "run", "--quiet") == 0
    assert read("run/restored.png").pixels.shape == (32, 32, 3)


def test_a_run_is_repeated_from_its_config(here):
    assert restore("--run-dir", "run", "--noise", "gaussian:25", "--quiet") == 0
    code = run(["restore", "noisy.png", "-o", "again.png", "--config", "run/config.yaml"])
    assert code == 0
    assert Path("again.png").read_bytes() == Path("run/restored.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("in.png", (32, 32), np.uint8),
        ("in.png", (32, 32, 3), np.uint16),
        ("in.tif", (32, 32, 3), np.float32),
        ("in.tif", (32, 32), np.float64),
        ("in.jpg", (32, 32, 3), np.uint8),
    ],
)
def test_type_and_size_are_kept(here, name, shape, dtype):
    write(name, Picture(pixels(shape, dtype)))
    out = f"out{Path(name).suffix}"
    assert run(["restore", name, *TINY, "-o", out, "--run-dir", "run", "--quiet"]) == 0
    restored = read(out).pixels
    assert restored.shape == shape
    assert restored.dtype == (np.float32 if np.dtype(dtype).kind == "f" else dtype)
    assert len(list(Path("run").glob(f"restored{Path(name).suffix}"))) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_alpha_is_carried_through(here, capsys, dtype):
    alpha = pixels((32, 32), dtype)
    name = "alpha.tif" if np.dtype(dtype).kind == "f" else "alpha.png"
    write(name, Picture(pixels(dtype=dtype), alpha))
    assert run(["restore", name, *TINY, "-o", f"out-{name}"]) == 0
    np.testing.assert_array_equal(
        read(f"out-{name}").alpha,
        alpha.astype(np.float32) if np.dtype(dtype).kind == "f" else alpha,
    )
    assert "alpha kept as it is" in capsys.readouterr().err


def test_colour_profile_and_exif_go_along(here):
    write("in.png", Picture(pixels(), icc=b"profile", xmp=b"<x/>"))
    assert run(["restore", "in.png", *TINY, "-o", "out.png", "--quiet"]) == 0
    assert read("out.png").icc == b"profile"
    assert read("out.png").xmp == b"<x/>"


def test_the_author_s_preset_resizes_and_says_so(here, capsys):
    write("alpha.png", Picture(pixels(), pixels((32, 32))))
    code = run(["restore", "alpha.png", "-o", "out.png", "--preset", "author", "--steps", "1"])
    assert code == 0
    out, err = capsys.readouterr()
    assert "resized to 128x128, without alpha" in err
    assert "oracle" in out
    assert "an experiment, not a restoration" in out
    assert read("out.png").alpha is None
    assert read("out.png").pixels.shape == (128, 128, 3)


def test_a_clean_picture_is_given_back_with_a_note(here, capsys):
    write("flat.png", Picture(np.full((32, 32, 3), 90, np.uint8)))
    assert run(["restore", "flat.png", *TINY, "-o", "out.png", "--run-dir", "run"]) == 0
    assert "no noise was found" in capsys.readouterr().out
    assert (read("out.png").pixels == 90).all()
    assert not Path("run/curves.png").exists()


def test_a_stopping_rule_names_its_step(here, capsys):
    assert restore("-o", "out.png", "--stopping", "es-emv") == 0
    assert re.search(r"the output of step \d was chosen", capsys.readouterr().out)


def test_overwrite_replaces_picture_and_run(here):
    assert restore("-o", "out.png", "--run-dir", "run", "--quiet") == 0
    first = Path("out.png").read_bytes()
    arguments = ["-o", "out.png", "--run-dir", "run", "--quiet", "--seed", "5"]
    assert restore(*arguments) == 2
    assert Path("out.png").read_bytes() == first
    assert restore(*arguments, "--overwrite") == 0
    assert Path("out.png").read_bytes() != first
    assert load_run(Path("run")).summary.seed == 5


# restore: what it says


def test_quiet_is_silent(here, capsys):
    assert restore("-o", "out.png", "--run-dir", "run", "--clean", "clean.png", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_json_is_all_there_is_on_stdout(here, capsys):
    assert restore("-o", "out.png", "--run-dir", "run", "--json", "--quiet") == 0
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out, parse_constant=pytest.fail)
    assert told.pop("output") == "out.png"
    assert told.pop("run_dir") == "run"
    assert told == json.loads(Path("run/summary.json").read_text())
    assert told["scores"] is None
    assert not told["oracle"]


def test_scores_that_are_not_finite_are_strict_json(here, capsys):
    assert restore("-o", "out.png", "--clean", "noisy.png", "--json") == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["scores_before"]["psnr"] == "inf"


def test_remarks_of_the_library_become_notes(here, capsys):
    write("in.jpg", Picture(pixels(), xmp=b"x" * 70_000))  # this one is a remark of its own
    capsys.readouterr()
    write("in.tif", Picture(pixels(), xmp=b"x" * 70_000))
    assert run(["restore", "in.tif", *TINY, "-o", "out.jpg"]) == 0
    assert re.search(r"^guided-dip: note: .*left out$", capsys.readouterr().err, re.MULTILINE)
    assert run(["restore", "in.tif", *TINY, "-o", "quiet.jpg", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


# restore: what it refuses. Every one is one line, exit code 2, and nothing written.

REFUSED = {
    "missing": (["restore", "no.png", "-o", "out.png"], "no.png: no such file"),
    "folder": (["restore", ".", "-o", "out.png"], "is a folder"),
    "no picture": (["restore", "text.png", "-o", "out.png"], "not a picture"),
    "empty": (["restore", "empty.png", "-o", "out.png"], "file is empty"),
    "cut off": (["restore", "cut.png", "-o", "out.png"], "damaged"),
    "suffix": (["restore", "noisy.png", "-o", "out.pgn"], "no picture format is called '.pgn'"),
    "no suffix": (["restore", "noisy.png", "-o", "out"], "no suffix"),
    "depth": (["restore", "deep.png", "-o", "out.jpg"], "JPEG cannot hold 32x32 uint16 pixels"),
    "alpha": (["restore", "alpha.png", "-o", "out.jpg"], "with alpha; try .png"),
    "itself": (["restore", "noisy.png", "-o", "noisy.png", "--overwrite"], "is the input"),
    "link": (["restore", "noisy.png", "-o", "link.png", "--overwrite"], "is the input"),
    "the clean one": (
        ["restore", "noisy.png", "-o", "clean.png", "--clean", "clean.png", "--overwrite"],
        "is the clean picture",
    ),
    "exists": (["restore", "noisy.png", "-o", "deep.png"], "exists already"),
    "no parent": (["restore", "noisy.png", "-o", "no/out.png"], "there is no folder"),
    "output a folder": (["restore", "noisy.png", "-o", "folder"], "folder: is a folder"),
    "nowhere": (["restore", "noisy.png"], "give -o OUT, --run-dir DIR or both"),
    "run in a file": (["restore", "noisy.png", "--run-dir", "text.png"], "is no folder"),
    "run in a folder": (["restore", "noisy.png", "--run-dir", "."], "other files than a run's"),
    "run nowhere": (["restore", "noisy.png", "--run-dir", "no/run"], "there is no folder"),
    "run over input": (
        ["restore", "noisy.png", "--run-dir", "noisy.png", "--overwrite"],
        "is the input",
    ),
    "both": (["restore", "noisy.png", "-o", "x.png", "--run-dir", "x.png"], "try two names"),
    "clean size": (
        ["restore", "noisy.png", "-o", "out.png", "--clean", "small.png"],
        "small.png: is 16x16 RGB, but what comes of noisy.png is 32x32 RGB",
    ),
    "clean gray": (
        ["restore", "noisy.png", "-o", "out.png", "--clean", "gray.png"],
        "gray.png: is 32x32 gray, but what comes of noisy.png is 32x32 RGB",
    ),
    "clean missing": (
        ["restore", "noisy.png", "-o", "out.png", "--clean", "no.png"],
        "no.png: no such file",
    ),
    "schedule": (
        ["restore", "noisy.png", "-o", "out.png", "--schedule", "cosin"],
        "did you mean 'cosine'? (one of: linear, cosine, sigmoid)",
    ),
    "supervision": (
        ["restore", "noisy.png", "-o", "out.png", "--supervision", "clean-guide"],
        "did you mean 'clean-guides'?",
    ),
    "backbone": (
        ["restore", "noisy.png", "-o", "out.png", "--backbone", "u-net"],
        "did you mean 'unet'?",
    ),
    "stopping": (
        ["restore", "noisy.png", "-o", "out.png", "--stopping", "es-wmw"],
        "did you mean 'es-wmv'?",
    ),
    "effort": (
        ["restore", "noisy.png", "-o", "out.png", "--effort", "bset"],
        "did you mean 'best'?",
    ),
    "preset": (
        ["restore", "noisy.png", "-o", "out.png", "--preset", "autor"],
        "unknown preset 'autor': did you mean 'author'? (one of: report, author)",
    ),
    "two presets": (
        ["restore", "noisy.png", "-o", "out.png", "--preset", "report", "--effort", "best"],
        "--effort and --preset are both given",
    ),
    "noise": (
        ["restore", "noisy.png", "-o", "out.png", "--noise", "gausian:25"],
        "did you mean 'gaussian'?",
    ),
    "noise level": (
        ["restore", "noisy.png", "-o", "out.png", "--noise", "gaussian:x"],
        "'x' is not a number",
    ),
    "device": (
        ["restore", "noisy.png", "-o", "out.png", "--device", "gpu"],
        "unknown device 'gpu'",
    ),
    "absent device": (
        ["restore", "noisy.png", "-o", "out.png", "--device", "cuda:99"],
        "device 'cuda:99' is not on this machine",
    ),
    "steps": (["restore", "noisy.png", "-o", "out.png", "--steps", "0"], "steps cannot be 0"),
    "no number": (
        ["restore", "noisy.png", "-o", "out.png", "--steps", "many"],
        "--steps cannot be 'many': try a whole number; see guided-dip restore --help",
    ),
    "seed": (["restore", "noisy.png", "-o", "out.png", "--seed", "-1"], "seed cannot be -1"),
    "impossible plan": (
        [
            *["restore", "noisy.png", "-o", "out.png", "--supervision", "clean-guides"],
            *["--set", "start=40", "--set", "end=500"],
        ],
        "start (40) must be at least end (500)",
    ),
    "setting": (
        ["restore", "noisy.png", "-o", "out.png", "--set", "learning_rat=1"],
        "did you mean 'learning_rate'?",
    ),
    "no assignment": (
        ["restore", "noisy.png", "-o", "out.png", "--set", "count"],
        "--set: there is no '=' in 'count'; try count=3",
    ),
    "no YAML": (
        ["restore", "noisy.png", "-o", "out.png", "--set", "count={"],
        "--set: '{' is no value; try quoting it",
    ),
    "a day that is none": (
        ["restore", "noisy.png", "-o", "out.png", "--set", "count=2001-99-99"],
        "'2001-99-99' is no value",
    ),
    "config": (
        ["restore", "noisy.png", "-o", "out.png", "--config", "no.yaml"],
        "cannot read the config no.yaml: no such file; try checking the name",
    ),
    "config that is no text": (
        ["restore", "noisy.png", "-o", "out.png", "--config", "noisy.png"],
        "noisy.png: it is no text; try a YAML file",
    ),
    "too few": (
        ["restore", "noisy.png", "-o", "out.png", "--steps", "0"],
        "steps cannot be 0: try 1 or more",
    ),
    "too many": (
        ["restore", "noisy.png", "-o", "out.png", "--strength", "1.7"],
        "strength cannot be 1.7: try 1.0 or less",
    ),
    "level alone": (
        ["restore", "noisy.png", "-o", "out.png", "--noise", "15"],
        "try gaussian:15 or auto",
    ),
    "device of another name": (
        ["restore", "noisy.png", "-o", "out.png", "--device", "gpu"],
        "did you mean 'cuda'?",
    ),
    "folder as a file": (["restore", "noisy.png", "-o", "."], ".: is a folder; try naming a file"),
    "there already": (
        ["restore", "noisy.png", "-o", "clean.png"],
        "exists already; try another name, or --overwrite to replace it",
    ),
    "option": (
        ["restore", "noisy.png", "--sede", "1"],
        "no such option: --sede; did you mean --se",
    ),
    "shortened": (["restore", "noisy.png", "--over"], "did you mean --overwrite?"),
    "no value": (
        ["restore", "noisy.png", "-o"],
        "'-o' requires an argument; see guided-dip restore --help",
    ),
    "no input": (["restore"], "missing argument 'IN'"),
    "two inputs": (["restore", "noisy.png", "clean.png", "-o", "out.png"], "unexpected extra"),
    "command": (["restor", "noisy.png"], "did you mean 'restore'?"),
    "plan count": (["plan", "--count", "0"], "a plan needs at least 1 guide"),
    "plan order": (["plan", "--start", "30", "--end", "40"], "must be at least end"),
    "plan budget": (["plan", "--steps", "-1"], "cannot be negative"),
    "plan end": (["plan", "--start", "1000"], "timestep 1000 is outside the schedule"),
    "plan schedule": (["plan", "--schedule", "lin"], "did you mean 'linear'?"),
    "plan supervision": (["plan", "--supervision", "clean"], "unknown supervision 'clean'"),
    "plan noise": (["plan", "--supervision", "recorrupted-guides"], "--noise gaussian:25"),
    "plan auto": (["plan", "--noise", "auto"], "no image to estimate noise from"),
    "plan option": (["plan", "--shedule", "linear"], "did you mean --schedule?"),
    "plan plot": (["plan", "--plot", "out.jpeg"], "cannot end in '.jpeg'"),
    "plan plot exists": (["plan", "--plot", "deep.png"], "exists already"),
    "diffuse missing": (["diffuse", "no.png", "-o", "out.png"], "no.png: no such file"),
    "diffuse output": (["diffuse", "clean.png"], "missing option '--output'"),
    "diffuse itself": (["diffuse", "clean.png", "-o", "clean.png", "--overwrite"], "is the input"),
    "diffuse exists": (["diffuse", "clean.png", "-o", "deep.png"], "exists already"),
    "diffuse convention": (
        ["diffuse", "clean.png", "-o", "out.png", "--noise-convention", "centered"],
        "did you mean 'centred'?",
    ),
    "diffuse schedule": (
        ["diffuse", "clean.png", "-o", "out.png", "--schedule", "cos"],
        "did you mean 'cosine'?",
    ),
    "diffuse plan": (["diffuse", "clean.png", "-o", "out.png", "--count", "0"], "at least 1 guide"),
}


@pytest.fixture
def crowded(here):
    """The folder with all sorts of files in it."""
    write("deep.png", Picture(pixels(dtype=np.uint16)))
    write("alpha.png", Picture(pixels(), pixels((32, 32))))
    write("small.png", Picture(pixels((16, 16, 3))))
    write("gray.png", Picture(pixels((32, 32))))
    Path("cut.png").write_bytes(Path("noisy.png").read_bytes()[:1000])
    Path("text.png").write_text("no picture")
    Path("empty.png").touch()
    Path("folder").mkdir()
    Path("link.png").symlink_to("noisy.png")
    return here


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(crowded, capsys, arguments, message):
    before = {name: (crowded / name).stat().st_mtime_ns for name in there(crowded)}
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("guided-dip: error: ")
    assert err.count("\n") == 1
    assert message.lower() in err.lower()
    assert {name: (crowded / name).stat().st_mtime_ns for name in there(crowded)} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["restore", "noisy.png", "-o", "out.png"],
        ["restore", "noisy.png", "--run-dir", "run"],
        ["plan", "--plot", "plan.png"],
        ["diffuse", "noisy.png", "-o", "strip.png"],
    ],
)
def test_a_read_only_folder_is_refused(here, capsys, monkeypatch, arguments):
    monkeypatch.setattr("os.access", lambda _path, mode, **_: not mode & os.W_OK)
    before = there(here)
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert "read-only" in err
    assert err.count("\n") == 1
    assert there(here) == before


# restore: failures on the way


def failing(error):
    def step(_self, _on_step=None, *, resume=None):
        raise error

    return step


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "guided-dip: interrupted"),
        (SystemExit(143), 143, "guided-dip: terminated"),
        (RunError("the fit\ndiverged"), 1, "guided-dip: error: the fit diverged"),
        (MemoryError(), 1, "guided-dip: error: not enough memory"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            1,
            "guided-dip: error: not enough memory",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
            "guided-dip: error: not enough memory",
        ),
        (
            ValueError("two\nlines"),
            1,
            "guided-dip: error: ValueError: two lines (set GUIDED_DIP_DEBUG=1 for the traceback)",
        ),
    ],
)
def test_failures_leave_one_line_and_no_files(here, capsys, monkeypatch, error, code, line):
    before = there(here)
    monkeypatch.setattr(Restoration, "run", failing(error))
    assert restore("-o", "out.png", "--run-dir", "run", "--quiet") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert there(here) == before


def test_an_interruption_between_two_steps_leaves_no_files(here, capsys, monkeypatch):
    real = Restoration.run

    def interrupted(self, on_step=None, *, resume=None):
        def step(record):
            on_step(record)
            if record.step == 1:
                assert Path("run/.partial/metrics.jsonl").is_file()
                raise KeyboardInterrupt

        return real(self, step)

    before = there(here)
    monkeypatch.setattr(Restoration, "run", interrupted)
    assert restore("-o", "out.png", "--run-dir", "run", "--quiet") == 130
    assert there(here) == before


def test_the_traceback_can_be_asked_for(here, capsys, monkeypatch):
    monkeypatch.setenv("GUIDED_DIP_DEBUG", "1")
    monkeypatch.setattr(Restoration, "run", failing(ValueError("odd")))
    assert restore("-o", "out.png", "--quiet") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_fit_that_diverges_is_one_line(here, capsys):
    code = restore("-o", "out.png", "--quiet", "--set", "learning_rate=1e30")
    err = capsys.readouterr().err
    assert code == 1
    assert "try a learning rate much smaller than 1e+30" in err
    assert err.count("\n") == 1
    assert not Path("out.png").exists()


def test_a_full_disk_keeps_the_run(here, capsys, monkeypatch):
    def full(path, *_arguments, **_options):
        raise RunError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("guided_dip.images.write", full)
    assert restore("-o", "out.png", "--run-dir", "run", "--quiet") == 1
    assert "No space left" in capsys.readouterr().err
    assert load_run(Path("run")).summary.steps == 3


# Settings


def test_precedence(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("count: 7\nsteps: 11\nseed: 3\n")
    settings = make_settings(
        {"steps": 12, "seed": 4, "device": None},
        preset="report",
        file=file,
        assignments=["seed=5", "backbone_options={width: 4}"],
    )
    assert settings.backbone == "unet"  # the preset's
    assert settings.count == 7  # the file's, over the preset's 20
    assert settings.steps == 12  # the option's, over the file's
    assert settings.seed == 5  # --set's, over the option's
    assert settings.backbone_options == {"width": 4}
    assert settings.device == "auto"


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("learning_rate=1e-2", "learning_rate", 0.01),
        ("stopping=none", "stopping", "none"),
        ("flips_and_turns=no", "flips_and_turns", False),
        ("steps=", "steps", None),
        (" count = 3", "count", 3),
        ("noise=gaussian:25", "noise", "gaussian:25"),
    ],
)
def test_assignments_are_yaml(assignment, key, value):
    settings = make_settings({}, preset=None, file=None, assignments=[assignment])
    assert getattr(settings, key) == value


def test_no_settings_are_the_defaults():
    assert make_settings({"noise": None}, preset=None, file=None, assignments=[]) == make_config()


def test_help_names_every_allowed_value(capsys):
    assert run(["restore", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())  # names are wrapped at their hyphens
    for field in ("supervision", "schedule", "stopping", "effort"):
        for name in Config.model_json_schema()["properties"][field]["enum"]:
            assert name in text, name
    for name in ("skip", "unet", "segnet", "report", "author", "cuda", "mps", "gaussian"):
        assert name in text


# Progress


def record(step, seconds):
    return Record(step, 1, 224, 0.0123, 1e-3, seconds)


def test_time_left():
    assert seconds_left(record(24, 5.0), PLAN) == pytest.approx(15)
    assert seconds_left(record(99, 5.0), PLAN) == 0


def test_lines_come_every_ten_seconds(capsys):
    lines = Lines(PLAN)
    for step in range(100):
        lines(record(step, step * 0.25))
    assert capsys.readouterr().err.splitlines() == [
        "stage 2/5, step 41/100, loss 0.0123, 14 s left",
        "stage 2/5, step 81/100, loss 0.0123, 5 s left",
    ]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress(PLAN) as update:
        update(record(40, 2.0))
    out, err = capsys.readouterr()
    assert out == ""
    assert "stage 2/5" in err
    assert "step 41/100" in err
    assert "loss 0.0123" in err
    assert "3 s left" in err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (0.97, "1 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3599.9, "1 h"),
        (7380, "2 h 3 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_one_line():
    assert one_line("a\n b\n\n\tc\ud800") == "a b c\\ud800"
    assert one_line("  a  b.png") == "  a  b.png"
    assert one_line("") == ""


def test_a_reader_that_went_away_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream:
        tell("lost", stream)
        tell("lost too", stream)


# plan


def column(text, head):
    lines = text.splitlines()[1:]
    index = re.split(r"\s{2,}", lines[0].strip()).index(head)
    return [line.split()[index] for line in lines[1:]]


def test_bare_plan_is_the_report_s(capsys):
    assert run(["plan"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "clean-guides, cosine schedule, 2000 iterations"
    assert " ".join(column(out, "t")) == (
        "500 475 451 427 403 378 354 330 306 282 257 233 209 185 161 136 112 88 64 40"
    )
    assert " ".join(column(out, "iterations")) == (
        "49 54 58 63 68 73 79 84 89 94 100 106 112 118 124 130 137 144 151 167"
    )
    assert column(out, "first step")[:4] == ["0", "49", "103", "161"]
    assert column(out, "sigma (of 255)")[-1] == "9.94"
    assert len({len(line.split("#")[0].rstrip()) for line in out.splitlines()[2:]}) == 1


def test_linear_plan(capsys):
    assert run(["plan", "--schedule", "linear"]) == 0
    assert " ".join(column(capsys.readouterr().out, "iterations")) == (
        "25 28 32 36 40 46 52 58 66 74 84 95 107 120 136 154 174 196 220 257"
    )


def test_recorrupted_plan(capsys):
    arguments = ["plan", "--supervision", "recorrupted-guides", "--noise", "gaussian:25"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert column(out, "t") == ["256", "224", "193", "161", "130"]
    assert column(out, "a") == ["2.000", "1.662", "1.328", "0.960", "0.516"]
    assert sum(map(int, column(out, "iterations"))) == 1500


def test_the_report_s_example(capsys):
    assert run(["plan", "--start", "500", "--end", "0", "--count", "6"]) == 0
    assert column(capsys.readouterr().out, "t") == ["500", "400", "300", "200", "100", "0"]


def test_a_plan_without_timesteps(capsys):
    assert run(["plan", "--supervision", "observation", "--steps", "70"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:4] == ["1", "-", "70", "0"]


def test_skipped_stages_have_no_first_step(capsys):
    assert run(["plan", "--steps", "0"]) == 0
    assert set(column(capsys.readouterr().out, "first step")[:-1]) == {"-"}


def test_plan_json(capsys):
    assert run(["plan", "--steps", "100", "--count", "2", "--scale", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 100
    assert [stage["steps"] for stage in told["stages"]] == [50, 50]
    assert [stage["t"] for stage in told["stages"]] == [500, 40]
    assert told["first_steps"] == [0, 50]


def test_plan_plot(here, capsys):
    assert run(["plan", "--plot", "plan.png"]) == 0
    assert "cosine" in capsys.readouterr().out
    assert read("plan.png").pixels.shape[0] > 300
    assert run(["plan", "--plot", "plan.png", "--overwrite"]) == 0


# diffuse, info, the rest


def test_diffuse_draws_a_strip(here, capsys):
    assert run(["diffuse", "clean.png", "-o", "strip.png", "--count", "3"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["diffuse", "clean.png", "-o", "again.png", "--count", "3"]) == 0
    assert run(["diffuse", "clean.png", "-o", "other.png", "--count", "3", "--seed", "1"]) == 0
    strip, again, other = (Path(f"{name}.png").read_bytes() for name in ("strip", "again", "other"))
    assert strip == again != other


@pytest.mark.parametrize("shape", [(32, 32), (600, 700, 3), (2, 900), (600, 3, 3)])
def test_diffuse_takes_any_picture(here, shape):
    write("in.png", Picture(pixels(shape)))
    assert run(["diffuse", "in.png", "-o", "strip.png", "--count", "2"]) == 0


def test_info(capsys):
    assert run(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["versions"]["guided-dip"]
    assert "cpu" in told["devices"]
    assert told["auto"]["device"] in {key.split(":")[0] for key in told["devices"]}
    assert told["auto"]["precision"] in ("float32", "bfloat16")
    assert run(["info"]) == 0
    out = capsys.readouterr().out
    for version in told["versions"].values():
        assert version in out


def test_version(capsys):
    from guided_dip import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr() == (f"guided-dip {__version__}\n", "")


def test_no_command_shows_the_help(capsys):
    assert run([]) == 0
    bare = capsys.readouterr().out
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == bare
    for command in ("restore", "plan", "diffuse", "info"):
        assert command in bare


# In processes of their own

GUIDED_DIP = [sys.executable, "-m", "guided_dip"]
LOADED = """
import sys
from guided_dip.cli import run
code = run(sys.argv[1:])
print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"torch", "numpy", "matplotlib", "pydantic", "rich", "skimage", "PIL"}),
        (["restore", "--help"], {"torch", "numpy", "matplotlib"}),
        (["bench-engine", "--help"], {"torch", "numpy", "matplotlib", "rich"}),
        (["restore", "x.png", "--nope"], {"torch", "numpy", "matplotlib"}),
        (["plan", "--noise", "gaussian:25"], {"torch", "matplotlib"}),
        (["plan", "--plot", "plan.png"], {"torch"}),
    ],
)
def test_commands_load_only_what_they_need(arguments, absent, tmp_path):
    command = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert not set(done.stderr.splitlines()[-1].split()) & absent


def test_help_is_quick():
    def timed():
        began = time.perf_counter()
        subprocess.run([*GUIDED_DIP, "--help"], capture_output=True, check=True)
        return time.perf_counter() - began

    assert min(timed() for _ in range(3)) < 0.5


def test_the_exit_code_reaches_the_shell():
    done = subprocess.run([*GUIDED_DIP, "plan", "--count", "0"], capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"guided-dip: error: ")


def test_any_name_can_be_told():
    command = [sys.executable, "-m", "guided_dip", "plan", "--plot", b"\xff.jpg"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


def test_a_closed_pipe_is_quiet():
    done = subprocess.run(
        f"{sys.executable} -m guided_dip plan --json | true",
        shell=True,
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""


def test_a_name_that_is_no_text_does_not_spoil_the_end(here):
    name = os.fsdecode(b"\xff.png")
    Path("noisy.png").rename(name)
    command = [*GUIDED_DIP, "restore", name, *TINY, "-o", "\u2603" + name, "--run-dir", "run"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0
    assert b"done in" in done.stdout
    assert load_run(Path("run")).summary.source.name == r"\xff.png"
    assert Path("run/curves.png").is_file()


def test_main_runs_the_arguments_and_exits(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["guided-dip", "plan", "--count", "0"])
    try:
        with pytest.raises(SystemExit) as stop:
            main()
        assert signal.getsignal(signal.SIGTERM) is app._terminate
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 2
    with pytest.raises(SystemExit):
        app._terminate(signal.SIGTERM, None)


def test_an_error_of_ours_is_an_input_error_to_callers():
    with pytest.raises(InputError):
        make_settings({"effort": "huge"}, preset=None, file=None, assignments=[])
