"""The benchmark end to end: pictures, identical arrays, records, resuming, the page."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from guided_dip.cli import run
from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.experiments import benchmark as running
from guided_dip.experiments import benchmark_jobs, methods, runner, zsn2n
from guided_dip.experiments.benchmark_jobs import make_jobs
from guided_dip.experiments.benchmark_records import read_records
from guided_dip.experiments.benchmark_scores import by_method
from guided_dip.experiments.benchmark_study import make_benchmark
from guided_dip.experiments.board import locked
from guided_dip.experiments.dataset import find_scenes, observe, read_clean
from guided_dip.experiments.methods import METHODS, select_methods
from guided_dip.images import Picture, to_float, write
from guided_dip.metrics import psnr
from guided_dip.noise import NoiseModel, estimate_sigma
from guided_dip.runs import load_run

SIDE = 20
TINY = ["--set", "backbone_options={width: 4, scales: 2}", "--set", "device=cpu"]
TINY += ["--set", "precision=float32", "--workers", "1", "--quiet"]
STEPS = ["--set", "steps=6"]
NOISE = ["--noise", "gaussian:25"]


def make_picture(path, seed=0, gray=False, add=0.0):
    ramp = np.linspace(0.2, 0.8, SIDE)
    pixels = np.dstack([np.add.outer(ramp, ramp) / 2, np.tile(ramp, (SIDE, 1)), np.eye(SIDE) / 2])
    pixels = np.roll(pixels, seed, axis=1)
    pixels = pixels + np.random.default_rng(seed).standard_normal(pixels.shape) * add
    pixels = (np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    path.parent.mkdir(exist_ok=True, parents=True)
    write(path, Picture(pixels[..., 0] if gray else pixels))
    return path


def make_dataset(folder):
    make_picture(folder / "b.png", 1)
    make_picture(folder / "a.png", 0)
    make_picture(folder / "gray.png", 2, gray=True)
    (folder / "README.md").write_text("no picture")
    return folder


def make_pairs(folder):
    for name, seed in (("x", 0), ("y", 3)):
        make_picture(folder / "raw" / f"{name}.png", seed, add=0.05)
        make_picture(folder / "gt" / f"{name}.png", seed)
    return folder


def bench(folder, *arguments):
    return run(["benchmark", "-o", str(folder), *TINY, *map(str, arguments)])


def records_of(folder):
    return {(r.method, r.image, r.seed): r for r in read_records(folder / "records.jsonl")}


def page_bytes(folder):
    paths = [folder / name for name in ("benchmark.html", "benchmark.md", "results.json")]
    return {path.name: path.read_bytes() for path in [*paths, *(folder / "figures").iterdir()]}


@pytest.fixture(scope="module", autouse=True)
def _coarse():
    """Draw with few pixels, and never with a package that happens to be installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guided_dip.plots.files.DPI", 40)
        patch.setattr(methods, "is_installed", lambda package: False)
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("home") / "pictures")


@pytest.fixture(scope="module")
def study(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "out"
    chosen = ["--methods", "fast,dip,nlm,tv,wavelet,clean-guides", "--images", "a,gray"]
    assert bench(folder, dataset, *NOISE, *STEPS, "--seeds", "2", *chosen) == 0
    return folder


@pytest.fixture
def executed(monkeypatch):
    """Names of all runs that are carried out in this process."""
    names = []
    execute, function = runner.execute, running._run_function
    monkeypatch.setattr(
        runner, "execute", lambda task, on: (names.append(task.name), execute(task, on))
    )
    monkeypatch.setattr(
        running,
        "_run_function",
        lambda job, folder: (names.append(job.name), function(job, folder))[1],
    )
    return names


# Pictures


def test_pictures_are_found_by_name(dataset):
    assert [scene.name for scene in find_scenes(dataset, pairs=False)] == ["a", "b", "gray"]
    chosen = find_scenes(dataset, pairs=False, names=["gray", "a"])
    assert [scene.name for scene in chosen] == ["a", "gray"]
    with pytest.raises(InputError, match="no picture is called 'grey': did you mean 'gray'"):
        find_scenes(dataset, pairs=False, names=["grey"])


def test_folders_without_pictures(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match="holds no pictures"):
        find_scenes(tmp_path, pairs=False)
    with pytest.raises(InputError, match="no such folder"):
        find_scenes(tmp_path / "none", pairs=False)
    make_picture(tmp_path / "a.png")
    make_picture(tmp_path / "a.bmp")
    with pytest.raises(InputError, match="two pictures are called 'a'"):
        find_scenes(tmp_path, pairs=False)


def test_the_noise_is_the_documented_draw(dataset):
    (scene,) = find_scenes(dataset, pairs=False, names=["a"])
    clean = read_clean(scene.clean)
    assert clean.dtype == np.float64
    for seed in (0, 1):
        draw = np.random.default_rng(seed).standard_normal(clean.shape)
        expected = (clean + draw * 25 / 255).astype(np.float32)
        observed = observe(scene, noise=NoiseModel("gaussian", 25 / 255), seed=seed)
        assert np.allclose(observed.image, expected, atol=1e-7)
        assert observed.image.dtype == np.float32
        assert observed.image.max() > 1 or observed.image.min() < 0  # unclipped
        assert np.array_equal(observed.clean, clean.astype(np.float32))


def test_eight_bits_are_clipped_and_rounded(dataset):
    (scene,) = find_scenes(dataset, pairs=False, names=["a"])
    free = observe(scene, noise=NoiseModel("gaussian", 0.1), seed=0).image
    observed = observe(scene, noise=NoiseModel("gaussian", 0.1), seed=0, eight_bit=True).image
    levels = np.rint(np.clip(free, 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(observed, to_float(levels))


def test_real_pairs_in_both_layouts(tmp_path):
    make_pairs(tmp_path / "one")
    for name in ("x", "y"):
        for sub, end in (("raw", "real"), ("gt", "mean")):
            (tmp_path / "two").mkdir(exist_ok=True)
            source = tmp_path / "one" / sub / f"{name}.png"
            shutil.copy(source, tmp_path / "two" / f"{name}_{end}.png")
    found = [find_scenes(tmp_path / name, pairs=True) for name in ("one", "two")]
    assert [[scene.name for scene in scenes] for scenes in found] == [["x", "y"]] * 2
    one, two = (observe(scenes[0], noise=None, seed=0) for scenes in found)
    assert one.digest == two.digest
    assert not np.array_equal(one.image, one.clean)


def test_counts_of_a_pair_are_in_units_of_one_white(tmp_path):
    clean = np.linspace(100, 2000, 16 * 16).reshape(16, 16).astype(np.uint16)
    for sub, pixels in (("raw", clean + np.uint16(1500)), ("gt", clean)):
        (tmp_path / sub).mkdir()
        write(tmp_path / sub / "x.tif", Picture(pixels))
    observed = observe(find_scenes(tmp_path, pairs=True)[0], noise=None, seed=0)
    np.testing.assert_allclose(observed.image - observed.clean, 1500 / 4095, atol=1e-6)
    assert observed.image.max() == np.float32(3500 / 4095)
    (scene,) = find_scenes(tmp_path / "gt", pairs=False)
    assert observe(scene, noise=NoiseModel("gaussian", 0.01), seed=0).clean.max() > 0.9


def test_half_a_pair_or_none_is_refused_with_both_layouts(tmp_path, dataset):
    make_pairs(tmp_path)
    (tmp_path / "raw/y.png").unlink()
    for folder, problem in ((tmp_path, "'y' has no partner"), (dataset, "holds no pairs")):
        with pytest.raises(InputError, match=problem) as error:
            find_scenes(folder, pairs=True)
        for word in ("'raw' and 'gt'", "_real.png", "_mean.png", "--noise gaussian:25"):
            assert word in str(error.value)
    make_picture(tmp_path / "raw/y.png", gray=True)
    with pytest.raises(InputError, match="its shape"):
        observe(find_scenes(tmp_path, pairs=True)[1], noise=None, seed=0)


# What every method is given


def jobs_of(dataset, names, seeds=1, **options):
    shared = make_benchmark(dataset, **{"noise": "gaussian:25"} | options)
    scenes = find_scenes(dataset, pairs=shared.noise is None)
    return make_jobs(shared, select_methods(names), scenes, seeds)


def test_all_methods_are_given_identical_arrays(dataset):
    jobs = jobs_of(dataset, ["fast", "dip", "tv", "zs-n2n", "clean-guides"], seeds=2)
    assert len(jobs) == 5 * 3 * 2
    for job in jobs:
        same = [other for other in jobs if (other.image, other.seed) == (job.image, job.seed)]
        assert all(np.array_equal(job.noisy, other.noisy) for other in same)
        worked_on = job.clean if job.method.oracle else job.noisy
        assert job.input.image is worked_on
    assert len({job.noisy.tobytes() for job in jobs}) == 6
    assert len({job.digest for job in jobs}) == len(jobs)


def test_what_is_told(dataset):
    for told, level in ((None, 25), ("exact", 25), ("1.1", 27.5), ("0.5", 12.5)):
        for job in jobs_of(dataset, ["fast", "tv"], told=told):
            assert job.noise.sigma == pytest.approx(level / 255)
            if job.spec:
                assert job.spec.settings["noise"] == f"gaussian:{level:g}"
    for job in jobs_of(dataset, ["fast", "tv"], told="auto"):
        estimate = estimate_sigma(np.atleast_3d(job.noisy), channel_axis=-1)
        assert job.noise.sigma == pytest.approx(estimate, rel=1e-3)
        assert job.told != "gaussian:25"


def test_real_pairs_are_always_told_an_estimate(tmp_path):
    folder = make_pairs(tmp_path / "pairs")
    jobs = jobs_of(folder, ["dip", "tv"], seeds=2, noise=None)
    assert {(job.method.name, job.seed) for job in jobs} == {("dip", 0), ("dip", 1), ("tv", 0)}
    assert all(2 / 255 < job.noise.sigma < 30 / 255 for job in jobs)
    with pytest.raises(InputError, match="try auto"):
        make_benchmark(folder, told="1.1")


def test_steps_are_multiplied(dataset):
    def steps(factor):
        jobs = jobs_of(dataset, ["fast", "dip"], steps_factor=factor)
        return [job.spec.config.steps for job in jobs if job.image == "a"]

    assert steps(1.0)[1] == 1800
    assert steps(2.5) == [round(2.5 * planned) for planned in steps(1.0)]
    own = jobs_of(dataset, ["dip"], steps_factor=0.5, settings={"steps": 10})
    assert own[0].spec.config.steps == 5


# A setting that is added goes to `_LATER`, not here: with it in digests no record would be found.
COUNTED = """a_end a_start backbone backbone_options check_noise clip_gradients count device
effort end eval_mode final_draws flips_and_turns grain jitter learning_rate learning_rate_schedule
lower_clip measure muon_learning_rate nan_as_missing noise noise_convention optimizer
output_average patch patch_guides precision quantize rebuild_optimizer redraw_z reset_batchnorm
resize restarts scale schedule seed start steps stopping strength supervision weight_average
weight_decay"""


def test_records_are_found_whatever_settings_came_later(dataset):
    spec = jobs_of(dataset, ["fast"])[0].spec
    assert set(benchmark_jobs._settings(spec)) == set(COUNTED.split())
    for key, value in benchmark_jobs._LATER.items():
        assert value == Config.model_fields[key].default
    other = replace(spec, settings={**spec.settings, "guide_noise": "shared"})
    assert set(benchmark_jobs._settings(other)) == {*COUNTED.split(), "guide_noise"}


def test_the_digest_changes_with_all_that_matters(dataset, monkeypatch):
    def digests(**options):
        names = ["fast", "tv", "zs-n2n"]
        return {job.method.name: job.digest for job in jobs_of(dataset, names, **options)}

    before = digests()
    assert digests() == before
    for options in ({"noise": "gaussian:15"}, {"told": "1.1"}, {"eight_bit": True}):
        assert not set(digests(**options).values()) & set(before.values())
    changed = digests(settings={"count": 3})
    assert changed["fast"] != before["fast"]
    assert changed["tv"] == before["tv"]
    monkeypatch.setattr("guided_dip.experiments.benchmark_jobs.RESULTS", 99)
    assert not set(digests().values()) & set(before.values())


# Records


def test_a_record_says_what_the_run_was(study):
    found = records_of(study)
    assert len(found) == (6 + 1) * 2 * 2
    one = found["dip", "a", 1]
    assert one.benchmark.dataset == "pictures"
    assert (one.benchmark.noise, one.benchmark.told) == ("gaussian:25", "exact")
    assert (one.oracle, one.steps, one.device) == (False, 6, "cpu")
    assert one.told == "gaussian:25"
    assert {"python", "torch", "numpy"} <= set(one.versions)
    text = (study / "records.jsonl").read_text()
    assert str(study.parent) not in text
    assert "/" not in text


def test_scores_are_those_of_the_saved_restorations(study, dataset):
    for scene in find_scenes(dataset, pairs=False, names=["a", "gray"]):
        clean = read_clean(scene.clean)
        for name in ("fast", "dip", "clean-guides"):
            restored = load_run(study / "runs" / name / scene.name / "seed-1").restored
            score = psnr(np.clip(restored, 0, 1), clean, data_range=1.0)
            assert records_of(study)[name, scene.name, 1].psnr == pytest.approx(score, abs=1e-4)
        noisy = np.clip(observe(scene, noise=NoiseModel("gaussian", 25 / 255), seed=1).image, 0, 1)
        score = psnr(noisy, clean, data_range=1.0)
        assert records_of(study)["tv", scene.name, 1].psnr_noisy == pytest.approx(score, abs=1e-4)


def test_the_best_step_is_read_off_plain_dip(study):
    found = records_of(study)
    for image in ("a", "gray"):
        peak, final = found["dip-peak", image, 0], found["dip", image, 0]
        scores = [r.psnr for r in load_run(study / "runs/dip" / image / "seed-0").records]
        assert peak.psnr == pytest.approx(max([*scores, final.psnr]))
        assert (peak.oracle, peak.ssim, final.oracle) == (True, None, False)
    assert not (study / "runs/dip-peak").exists()


def test_a_finished_run_is_never_computed_again(dataset, tmp_path, executed):
    out, one = tmp_path / "out", ["--images", "a"]
    assert bench(out, dataset, *NOISE, *STEPS, *one, "--methods", "dip-peak,tv") == 0
    assert executed == ["tv/a/seed-0", "dip/a/seed-0"]
    before = (out / "records.jsonl").read_bytes()
    assert bench(out, dataset, *NOISE, *STEPS, *one, "--methods", "dip,dip-peak,tv") == 0
    assert len(executed) == 2
    assert (out / "records.jsonl").read_bytes() == before
    assert bench(out, dataset, *NOISE, *STEPS, "--images", "a,b", "--methods", "tv,nlm") == 0
    assert set(executed[2:]) == {"tv/b/seed-0", "nlm/a/seed-0", "nlm/b/seed-0"}
    assert len(records_of(out)) == 2 + 1 + 3


def test_records_go_on_in_another_folder(dataset, tmp_path, executed):
    file = tmp_path / "kept.jsonl"
    some = [dataset, *NOISE, *STEPS, "--images", "a", "--methods", "dip,nlm", "--records", file]
    assert bench(tmp_path / "one", *some) == 0
    assert len(executed) == 2
    assert bench(tmp_path / "two", *some) == 0
    assert len(executed) == 2
    assert records_of(tmp_path / "one") == records_of(tmp_path / "two")
    assert not list((tmp_path / "two/runs").glob("*"))
    assert (tmp_path / "two/benchmark.html").exists()
    # Another noise is another record in the same file, and a table of its own.
    other = [dataset, "--noise", "gaussian:15", *STEPS, "--images", "a", "--methods", "nlm"]
    assert bench(tmp_path / "three", *other, "--records", file) == 0
    assert len(executed) == 3
    assert len(read_records(file)) == 4
    assert len(records_of(tmp_path / "three")) == 1
    shutil.rmtree(tmp_path / "three/restored")
    (tmp_path / "three/records.jsonl").unlink()
    redraw = ["--redraw", "--records", str(file)]
    assert run(["benchmark", "-o", str(tmp_path / "three"), "--quiet", *redraw]) == 0
    assert not list((tmp_path / "three/figures").iterdir())


def test_a_changed_picture_is_computed_again(tmp_path, executed):
    make_picture(tmp_path / "p/a.png")
    some = [tmp_path / "p", *NOISE, "--methods", "tv"]
    assert bench(tmp_path / "out", *some) == 0
    (tmp_path / "p/a.png").unlink()
    make_picture(tmp_path / "p/a.png", seed=5)
    assert bench(tmp_path / "out", *some) == 0
    assert executed == ["tv/a/seed-0"] * 2
    assert len(records_of(tmp_path / "out")) == 1


@pytest.mark.parametrize("at", ["nlm/b/seed-0", "fast/b/seed-0"])
def test_an_interrupted_benchmark_goes_on(dataset, tmp_path, monkeypatch, executed, at):
    some = [dataset, *NOISE, *STEPS, "--images", "a,b", "--methods", "fast,nlm"]
    execute, function = runner.execute, running._run_function

    def stopping(work, name):
        if name == at:
            raise KeyboardInterrupt
        return work()

    with monkeypatch.context() as patch:
        patch.setattr(runner, "execute", lambda t, on: stopping(lambda: execute(t, on), t.name))
        patch.setattr(
            running, "_run_function", lambda j, f: stopping(lambda: function(j, f), j.name)
        )
        assert bench(tmp_path / "out", *some) == 130
    before = list(executed)
    assert len(records_of(tmp_path / "out")) == len(before)
    assert not (tmp_path / "out/benchmark.html").exists()
    assert bench(tmp_path / "out", *some) == 0
    assert at == executed[len(before)]
    assert len(executed) == len(set(executed)) == 4
    assert len(records_of(tmp_path / "out")) == 4


def test_a_killed_benchmark_goes_on(dataset, tmp_path, executed):
    some = [dataset, *NOISE, "--set", "steps=30", "--images", "a,b", "--methods", "dip"]
    command = [sys.executable, "-m", "guided_dip", "benchmark", "-o", tmp_path / "out", *TINY]
    process = subprocess.Popen(
        list(map(str, [*command, *some])), env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    end = time.monotonic() + 60
    while not (tmp_path / "out/records.jsonl").exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(records_of(tmp_path / "out")) // 2
    assert done >= 1
    assert bench(tmp_path / "out", *some) == 0
    assert len(executed) <= 2 - done
    assert len(records_of(tmp_path / "out")) == 4


def test_a_failing_run_stops_no_other_and_is_named(dataset, tmp_path, capsys, monkeypatch):
    def broken(noisy, sigma, seed):
        raise ValueError("it is\nbroken")

    monkeypatch.setitem(
        METHODS, "nlm", methods.Method("nlm", "Broken", function=broken, random=False)
    )
    nan = methods.Method("tv", "NaN", function=lambda y, *_: y * np.nan, random=False)
    monkeypatch.setitem(METHODS, "tv", nan)
    some = [dataset, *NOISE, *STEPS, "--images", "a", "--methods", "fast,nlm,tv,wavelet"]
    assert bench(tmp_path / "out", *some) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "2 of 4 runs failed: " in said
    assert "nlm/a/seed-0: ValueError: it is broken" in said
    assert {key[0] for key in records_of(tmp_path / "out")} == {"fast", "wavelet"}
    assert (tmp_path / "out/benchmark.html").exists()


def test_two_calls_in_one_folder_are_refused(dataset, tmp_path):
    code = (
        "import sys, pathlib\n"
        "from guided_dip.experiments.board import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with contextlib.redirect_stderr(io.StringIO()) as told:
            assert bench(tmp_path, dataset, *NOISE, "--methods", "tv") == 2
        other.stdin.close()
    assert "another call is computing" in told.getvalue()
    with locked(tmp_path):
        assert not (tmp_path / "records.jsonl").exists()


def test_zs_n2n_and_real_pairs_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(zsn2n, "zs_n2n", partial(zsn2n.zs_n2n, epochs=5))
    folder = make_pairs(tmp_path / "pairs")
    assert bench(tmp_path / "out", folder, "--methods", "zs-n2n,tv", "--seeds", "2") == 0
    found = records_of(tmp_path / "out")
    assert {key for key in found if key[1] == "x"} == {
        ("zs-n2n", "x", 0),
        ("zs-n2n", "x", 1),
        ("tv", "x", 0),
    }
    assert "torch" in found["zs-n2n", "x", 0].versions
    page = (tmp_path / "out/benchmark.md").read_text()
    assert "Real pairs" in page
    assert re.search(r"Total variation \| 2 of 2 \| 1 \| [\d.]+ \|", page)


# The page


def test_oracles_and_honest_methods_share_no_table(study):
    page = (study / "benchmark.md").read_text()
    honest, oracle = page.split("## Methods that saw the clean image (oracle)")
    honest = honest.split("## Methods that saw only the noisy observation")[1]
    for name, method in METHODS.items():
        there = name in {key[0] for key in records_of(study)}
        assert (method.title in oracle.split("**Settings.**")[0]) is (there and method.oracle)
        assert (method.title in honest) is (there and not method.oracle)


def test_means_and_spreads_are_those_of_the_records(study):
    found = records_of(study)
    lines = (study / "benchmark.md").read_text().splitlines()
    for name in ("fast", "dip", "tv", "dip-peak"):
        by_seed = [np.mean([found[name, i, seed].psnr for i in ("a", "gray")]) for seed in (0, 1)]
        said = f"{np.mean(by_seed):.2f} \N{PLUS-MINUS SIGN} {np.std(by_seed, ddof=1):.2f}"
        (line,) = [line for line in lines if line.startswith(f"| {METHODS[name].title} | 2 of 2")]
        assert line.split("|")[3].strip() == "2"
        assert line.split("|")[4].strip() == said
        results = json.loads((study / "results.json").read_text())
        (entry,) = [entry for entry in results["methods"] if entry["method"] == name]
        assert entry["psnr"] == pytest.approx([np.mean(by_seed), np.std(by_seed, ddof=1)])
    (line,) = [line for line in lines if line.startswith("| gray |")][:1]
    assert f"{np.mean([found['fast', 'gray', s].psnr for s in (0, 1)]):.2f}" in line


def test_a_seed_with_fewer_pictures_is_no_part_of_the_mean(study):
    scores = [r for r in records_of(study).values() if r.method == "tv"]
    kept = [r for r in scores if (r.image, r.seed) != ("gray", 1)]
    (whole,), (part,) = by_method(scores), by_method(kept)
    assert set(whole.by_seed) == {0, 1}
    assert set(part.by_seed) == {0}
    assert part.images == 2
    assert part.mean("psnr").std is None
    assert part.mean("ssim").value == np.mean([r.ssim for r in scores if r.seed == 0])


def test_figures_and_self_contained_html(study):
    names = {path.name for path in (study / "figures").iterdir()}
    curves = {"curves-honest.png", "curves-oracle.png"}
    assert names == {"pictures-0.jpg", "pictures-1.jpg"} | curves
    text = (study / "benchmark.html").read_text()
    assert text.count("data:image/") == 4
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert "gaussian:25" in text


def test_redrawing_gives_the_same_bytes_and_runs_nothing(study, executed, capsys):
    before = page_bytes(study)
    assert run(["benchmark", "-o", str(study), "--redraw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before["results.json"])
    assert page_bytes(study) == before
    assert not executed


def test_without_pictures_or_runs(study, tmp_path, capsys):
    shutil.copytree(study, tmp_path / "copy")
    redraw = ["benchmark", "-o", str(tmp_path / "copy"), "--redraw"]
    assert run([*redraw, "--no-pictures"]) == 0
    names = {path.name for path in (tmp_path / "copy/figures").iterdir()}
    assert names == {"curves-honest.png", "curves-oracle.png"}
    said = capsys.readouterr().out
    assert re.search(r"fast +PSNR [\d.]+ dB over 2 pictures", said)
    assert said.index("saw only the noisy") < said.index("saw the clean image (oracle)")
    shutil.rmtree(tmp_path / "copy/runs")
    assert run(redraw) == 0
    names = {path.name for path in (tmp_path / "copy/figures").iterdir()}
    assert names == {"pictures-0.jpg", "pictures-1.jpg"}


def test_progress_names_the_function_or_the_step(dataset, tmp_path, monkeypatch):
    from guided_dip.cli import benchmark as command
    from guided_dip.cli import study as shown

    monkeypatch.setattr(command, "study_progress", partial(shown.study_progress, every=0.0))
    loud = [word for word in TINY if word != "--quiet"]
    some = [*loud, *NOISE, *STEPS, "--images", "a", "--methods", "fast,tv"]
    with contextlib.redirect_stderr(io.StringIO()) as told:
        assert run(["benchmark", str(dataset), "-o", str(tmp_path / "out"), *some]) == 0
    assert "run 0/2 done, at tv/a/seed-0, - left" in told.getvalue()
    assert "run 1/2 done, step 6/6, " in told.getvalue()


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "wavelets"], "did you mean 'wavelet'"),
        (["--methods", "bm3d"], "bm3d"),
        (["--images", "grey"], "did you mean 'gray'"),
        (["--seeds", "0"], "--seeds"),
        (["--noise", "auto"], "try gaussian:25"),
        (["--noise", "gauss:25"], "gaussian"),
        (["--noise-told", "none"], "try exact, auto, or a factor"),
        (["--noise-told", "-1"], "try exact, auto, or a factor"),
        (["--steps-factor", "0"], "must be above 0"),
        (["--steps-factor", "nan"], "must be above 0"),
        (["--set", "supervision=observation"], "try --methods"),
        (["--set", "noise=auto"], "try --noise and --noise-told"),
        (["--set", "seed=3"], "try --seeds"),
        (["--set", "count=0"], "count cannot be 0"),
        (["--set", "cuont=1"], "did you mean 'count'"),
        (["--redraw"], "holds no benchmark"),
        (["--records", "none/r.jsonl"], "there is no folder"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(dataset, tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert run(["benchmark", str(dataset), "-o", str(out), "--quiet", *NOISE, *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert said.count("\n") == 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "holds no pairs"),
        (["--eight-bit"], "try it with --noise"),
        (["--noise-told", "exact"], "try auto"),
    ],
)
def test_wrong_usage_without_noise(dataset, tmp_path, capsys, arguments, message):
    assert run(["benchmark", str(dataset), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert run(["benchmark", "-o", str(tmp_path / "out")]) == 2
    assert "DATASET_DIR" in capsys.readouterr().err


def test_folders_that_are_no_place_for_a_benchmark(dataset, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    (tmp_path / "file").touch()
    for name, message in (("full", "other files"), ("file", "no folder"), ("a/b", "creating it")):
        assert bench(tmp_path / name, dataset, *NOISE, "--methods", "tv") == 2
        assert message in capsys.readouterr().err


def test_another_benchmark_needs_overwrite_and_leaves_nothing_old(dataset, tmp_path, capsys):
    out, some = tmp_path / "out", ["--images", "a", "--methods", "tv"]
    assert bench(out, dataset, *NOISE, *some) == 0
    assert bench(out, dataset, "--noise", "gaussian:15", *some) == 2
    assert "--overwrite" in capsys.readouterr().err
    other = ["--noise", "gaussian:15", "--images", "b", "--methods", "nlm", "--overwrite"]
    assert bench(out, dataset, *other) == 0
    assert set(records_of(out)) == {("nlm", "b", 0)}
    assert not (out / "restored/tv").exists()


def test_damaged_files_are_named(dataset, tmp_path, capsys):
    out, some = tmp_path / "out", ["--images", "a", "--methods", "tv"]
    assert bench(out, dataset, *NOISE, *some) == 0
    with (out / "records.jsonl").open("a") as file:
        file.write("{}\n")
    assert bench(out, dataset, *NOISE, *some) == 2
    assert "line 2 is no record" in capsys.readouterr().err
    (out / "benchmark.json").write_text("[]")
    assert bench(out, dataset, *NOISE, *some) == 2
    assert "damaged" in capsys.readouterr().err


def test_counted_light_is_added_told_and_made_even_for_all(dataset, tmp_path):
    chosen = ["--noise", "poisson:20", "--methods", "tv,nlm", "--images", "a"]
    assert bench(tmp_path / "out", dataset, *chosen) == 0
    found = records_of(tmp_path / "out").values()
    assert len(found) == 2
    assert {record.told for record in found} == {"poisson:20"}
    assert all(record.psnr > record.psnr_noisy for record in found)
