"""The run folder: complete or absent, readable again, and never in the way of other files."""

import dataclasses
import errno
import json
import math
from importlib import metadata

import numpy as np
import pytest

from guided_dip import __version__
from guided_dip import config as configs
from guided_dip.config import make_config
from guided_dip.errors import InputError, RunError
from guided_dip.images import Picture, read, write
from guided_dip.restoration import Known, prepare
from guided_dip.result import Record
from guided_dip.runs import Source, check_folder, load_run, new_run, plain, summarize
from guided_dip.runs.layout import DRAFT
from guided_dip.runs.summary import versions

SETTINGS = {"steps": 9, "noise": "gaussian:25", "backbone_options": {"width": 4, "scales": 2}}


def pixels(shape=(32, 40, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@dataclasses.dataclass
class Done:
    """A finished run and all that is needed to save it, as often as wished."""

    restoration: object
    result: object
    summary: object
    picture: Picture

    def save(self, folder, **options):
        with new_run(folder, **options) as run:
            for record in self.result.records:
                run.record(record)
            run.save(self.restoration, self.result, self.summary, self.picture)


def finished(folder, *, clean=True, shape=(32, 40, 3), form="PNG", **settings):
    picture = Picture(pixels(shape), format=form)
    write(folder / "noisy.png", picture, overwrite=True)
    restoration = prepare(
        picture.pixels,
        make_config(SETTINGS | settings),
        clean=pixels(shape, seed=1) if clean else None,
    )
    result = restoration.run()
    source = Source.of(folder / "noisy.png")
    summary = summarize(restoration, result, source, noise_estimated=False)
    return Done(restoration, result, summary, dataclasses.replace(picture, pixels=result.image))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("done"))


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_complete(done, tmp_path):
    done.save(tmp_path / "run")
    steps = [f"pictures/step-{step:05d}.png" for step, _ in done.result.snapshots]
    assert names(tmp_path / "run") == {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "restored.png",
        "pictures/input.png",
        "pictures/clean.png",
        "pictures/residual.tif",
        "pictures/spread.tif",
        *steps,
    }


def test_a_run_reads_back_as_it_was(done, tmp_path):
    done.save(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.config == done.result.config
    assert run.records == done.result.records
    assert run.summary == done.summary
    assert run.summary.plan == done.result.plan
    assert (read(tmp_path / "run" / "restored.png").pixels == done.result.image).all()
    np.testing.assert_array_equal(run.input, done.restoration.pixels)
    np.testing.assert_array_equal(run.clean, done.restoration.clean)
    for saved, (_, made) in zip(run.snapshots, done.result.snapshots, strict=True):
        assert np.abs(saved - np.clip(made, 0, 1)).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(run.restored * 255, done.result.image, atol=1e-4)


def test_without_a_clean_image_there_are_no_scores(tmp_path):
    finished(tmp_path, clean=False).save(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.clean is None
    assert run.summary.scores is run.summary.scores_before is run.summary.oracle_peak is None
    assert all(snapshot.psnr is None for snapshot in run.summary.snapshots)
    assert not (tmp_path / "run" / "pictures" / "clean.png").exists()


def test_the_peak_is_the_best_record(done):
    best = max(done.result.records, key=lambda record: record.psnr)
    peak = done.summary.oracle_peak
    assert (peak.step, peak.psnr) == (best.step, best.psnr)
    assert done.summary.final_loss == done.result.records[-1].loss


def test_the_summary_says_who_saw_the_clean_image(done, tmp_path):
    assert not done.summary.oracle
    assert finished(tmp_path, supervision="clean-guides", steps=3).summary.oracle


def test_the_config_names_versions_and_is_loadable(done, tmp_path):
    done.save(tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    head = text.splitlines()[0]
    assert head.startswith("# ")
    for name, version in versions().items():
        assert f"{name} {version}" in head
        assert done.summary.versions[name] == version
    assert configs.load(tmp_path / "run" / "config.yaml") == done.result.config


def test_what_was_never_installed_is_of_unknown_version(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    found = versions(["guided-dip", "torch"])
    assert found["guided-dip"] == __version__
    assert found["torch"] == "unknown"
    assert set(found) == {"python", "guided-dip", "torch"}


def test_no_absolute_path_is_saved(done, tmp_path):
    done.save(tmp_path / "run")
    for name in ("config.yaml", "metrics.jsonl", "summary.json"):
        assert str(tmp_path) not in (tmp_path / "run" / name).read_text()
    assert done.summary.source.name == "noisy.png"


def test_gray_and_other_formats(tmp_path):
    finished(tmp_path, shape=(32, 40), form="TIFF").save(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (tmp_path / "run" / "restored.tif").is_file()
    assert run.restored.shape == run.input.shape == (32, 40)
    assert run.summary.channels == 1
    assert run.summary.size == (40, 32)


def test_records_are_flushed_as_they_come(done, tmp_path):
    with new_run(tmp_path / "run") as run:
        for count, record in enumerate(done.result.records, start=1):
            run.record(record)
            lines = (tmp_path / "run" / DRAFT / "metrics.jsonl").read_text().splitlines()
            assert len(lines) == count
        run.save(done.restoration, done.result, done.summary, done.picture)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_run_that_fails_leaves_nothing(done, tmp_path, error):
    def fail():
        with new_run(tmp_path / "run") as run:
            run.record(done.result.records[0])
            raise error

    with pytest.raises(error):
        fail()
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_leaves_an_older_one_as_it_was(done, tmp_path):
    folder = tmp_path / "run"
    done.save(folder)
    before = {name: (folder / name).read_bytes() for name in names(folder)}

    def fail():
        with new_run(folder, overwrite=True) as run:
            run.save(done.restoration, done.result, done.summary, done.picture)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


def test_an_older_run_is_replaced_whole_and_other_files_stay(done, tmp_path):
    folder = tmp_path / "run"
    finished(tmp_path, shape=(32, 40), form="TIFF", steps=16).save(folder)
    (folder / "curves.png").write_bytes(b"stale")
    (folder / "notes.txt").write_text("mine")
    done.save(folder, overwrite=True)
    assert load_run(folder).summary == done.summary
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "restored.tif").exists()
    assert not (folder / "curves.png").exists()
    assert len(list((folder / "pictures").iterdir())) == 4 + len(done.result.snapshots)


def test_an_empty_folder_is_taken(done, tmp_path):
    (tmp_path / "run").mkdir()
    done.save(tmp_path / "run")
    assert load_run(tmp_path / "run").summary == done.summary


def test_an_existing_run_needs_overwrite(done, tmp_path):
    done.save(tmp_path / "run")
    with pytest.raises(InputError, match="holds a run; try another folder, or --overwrite"):
        check_folder(tmp_path / "run")
    check_folder(tmp_path / "run", overwrite=True)


def test_a_killed_run_needs_overwrite(tmp_path):
    (tmp_path / "run" / DRAFT).mkdir(parents=True)
    with pytest.raises(InputError, match="or was cut; try --overwrite"):
        check_folder(tmp_path / "run")
    check_folder(tmp_path / "run", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_refused(tmp_path, overwrite):
    (tmp_path / "photo.png").write_bytes(b"precious")
    with pytest.raises(InputError, match="other files than a run's"):
        check_folder(tmp_path, overwrite=overwrite)


def test_impossible_places_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        check_folder(tmp_path / "file")
    with pytest.raises(InputError, match="there is no folder"):
        check_folder(tmp_path / "missing" / "run")
    with pytest.raises(InputError, match="try another name"):
        check_folder(tmp_path / ("x" * 300))


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="read-only"):
        check_folder(tmp_path / "run")


def test_a_full_disk_is_a_run_error(done, tmp_path):
    def fail():
        with new_run(tmp_path / "run"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        fail()
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_from_the_beginning_keeps_nothing(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("guided_dip.runs.folder.keep_known", full)
    with pytest.raises(RunError, match="No space left"), new_run(tmp_path / "run", known=Known()):
        pass
    assert not (tmp_path / "run").exists()


def test_what_a_killed_run_began_with_is_no_obstacle(tmp_path):
    (tmp_path / "run" / ".partial.new").mkdir(parents=True)
    check_folder(tmp_path / "run")
    with new_run(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / ".partial.new").exists()


def test_numbers_that_are_not_finite_survive_as_strict_json(done, tmp_path):
    record = dataclasses.replace(done.result.records[0], psnr=math.inf)
    result = dataclasses.replace(done.result, records=(record,))
    with new_run(tmp_path / "run") as run:
        run.save(done.restoration, result, done.summary, done.picture)
    line = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail)["psnr"] == "inf"
    assert load_run(tmp_path / "run").records == (record,)


def test_plain():
    assert plain({"a": (1, math.inf), "b": [-math.inf, None, "x", True]}) == {
        "a": [1, "inf"],
        "b": ["-inf", None, "x", True],
    }


def damage_summary(folder, **changes):
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "summary.json").unlink(), "no folder of a finished run"),
        (lambda folder: (folder / "summary.json").write_text("{"), "summary.json: damaged"),
        (lambda folder: damage_summary(folder, seed="x"), r"summary.json: damaged \(seed: "),
        (lambda folder: damage_summary(folder, extra=1), r"summary.json: damaged \(extra: "),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "metrics.jsonl: cannot be read"),
        (
            lambda folder: (folder / "metrics.jsonl").open("a").write('{"step": 3'),
            r"metrics.jsonl: damaged \(line 10: ",
        ),
        (lambda folder: (folder / "config.yaml").write_text("steps: -1"), "steps cannot be -1"),
        (lambda folder: (folder / "config.yaml").unlink(), "cannot read the config"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_damaged_run_is_one_line(done, tmp_path, damage, problem):
    done.save(tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(InputError, match=problem) as error:
        load_run(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_missing_picture_is_one_line(done, tmp_path):
    done.save(tmp_path / "run")
    (tmp_path / "run" / "pictures" / "input.png").unlink()
    (tmp_path / "run" / "restored.png").unlink()
    run = load_run(tmp_path / "run")
    with pytest.raises(InputError, match="no such file"):
        _ = run.input
    with pytest.raises(InputError, match="no restored picture"):
        _ = run.restored


def test_a_source_is_a_name_and_a_digest(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Source.of(tmp_path / "empty.png") == Source("empty.png", digest)


def test_a_run_without_steps_is_saved_too(tmp_path):
    flat = np.full((32, 32, 3), 90, np.uint8)
    restoration = prepare(flat, make_config(SETTINGS | {"noise": "auto"}))
    result = restoration.run()
    assert not result.records
    write(tmp_path / "flat.png", Picture(flat))
    summary = summarize(restoration, result, Source.of(tmp_path / "flat.png"), noise_estimated=True)
    with new_run(tmp_path / "run") as run:
        run.save(restoration, result, summary, Picture(result.image))
    saved = load_run(tmp_path / "run")
    assert saved.records == ()
    assert saved.summary.final_loss is None
    assert saved.summary.note


def test_records_are_validated_by_type(done, tmp_path):
    done.save(tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    record = dataclasses.asdict(Record(0, 0, 1, 0.5, 0.1, 0.0)) | {"loss": "much"}
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="line 1: loss"):
        load_run(tmp_path / "run")
