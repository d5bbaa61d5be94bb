"""Tasks from file to file: what goes in beside the picture, what comes out, and what is refused."""

import json
import math
import signal

import numpy as np
import pytest
from PIL import Image
from skimage import data

from guided_dip.cli import run as command
from guided_dip.images import Picture, Resolution, read, to_float, write
from guided_dip.jobs.beside import kernel_of, task_of
from guided_dip.jpeg import USUAL_LUMA, Tables
from guided_dip.metrics import psnr

TINY = ["--steps", "3", "--set", "backbone_options={width: 4, scales: 2}", "--set", "threads=1"]
LEARNT = ["--steps", "60", "--set", "backbone_options={width: 12, scales: 2}", "--set", "threads=1"]
LEARNT += ["--set", "restarts=1"]


def cat(side=48, step=2):
    return data.chelsea()[20 : 20 + side * step : step, 100 : 100 + side * step : step]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a picture, its mask, kernel, gain, JPEG, and a small copy."""
    monkeypatch.chdir(tmp_path)
    pixels = cat()
    write("clean.png", Picture(pixels))
    missing = np.random.default_rng(0).random((48, 48)) < 0.4
    write("mask.png", Picture((missing * 255).astype(np.uint8)))
    write("known.png", Picture((~missing * 255).astype(np.uint8)))
    write("holes.png", Picture(np.where(missing[..., None], 0, pixels).astype(np.uint8)))
    write("kernel.tif", Picture(np.ones((3, 5), np.float32), format="TIFF"))
    write("gain.png", Picture(np.full((48, 48), 128, np.uint8)))
    Image.fromarray(pixels).resize((24, 24), Image.Resampling.LANCZOS).save("small.png")
    Image.fromarray(pixels).save("picture.jpg", quality=10)
    return tmp_path


def restore(*arguments):
    return command(["restore", *map(str, arguments)])


def test_a_mask_of_nearly_everything_is_asked_about(here, capsys):
    mask = np.full((48, 48), 255, np.uint8)
    mask[::3, ::3] = 0
    write("most.png", Picture(mask))
    assert restore("holes.png", "--mask", "most.png", "-o", "out.png", *TINY) == 0
    assert "missing (is the mask the wrong way round? --invert-mask)" in capsys.readouterr().err
    assert restore("holes.png", "--mask", "most.png", "--invert-mask", "-o", "b.png", *TINY) == 0
    assert "wrong way round" not in capsys.readouterr().err


def test_holes_are_filled_in_and_the_rest_is_kept(here, capsys):
    place = ["holes.png", "--mask", "mask.png", "-o", "out.png", "--run-dir", "run"]
    assert restore(*place, "--clean", "clean.png", *LEARNT) == 0
    said = capsys.readouterr()
    assert "of its pixels missing" in said.err
    known = to_float(read("mask.png").pixels) == 0
    out, given = (read(name).pixels for name in ("out.png", "holes.png"))
    assert np.array_equal(out[known], given[known])
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert summary["task"] == "inpaint"
    assert summary["scores"]["psnr"] > summary["scores_before"]["psnr"] + 1  # of nearest pixels
    assert np.array_equal(read("run/pictures/mask.png").pixels == 0, known)
    again = ["holes.png", "--mask", "known.png", "--invert-mask", "-o", "again.png"]
    assert restore(*again, *LEARNT) == 0
    assert np.array_equal(read("again.png").pixels, out)


def test_a_small_picture_becomes_larger_with_all_it_has(here, capsys):
    rgb = read("small.png").pixels
    alpha = np.zeros((24, 24), np.uint8)
    alpha[:, 12:] = 255
    write("alpha.png", Picture(rgb, alpha, resolution=Resolution(100, 100, "inch")))
    place = ["alpha.png", "--scale", "2", "-o", "out.png", "--run-dir", "run"]
    assert restore(*place, "--clean", "clean.png", *LEARNT) == 0
    assert "to become 48x48" in capsys.readouterr().err
    out = read("out.png")
    assert out.pixels.shape == (48, 48, 3)
    assert out.alpha.shape == (48, 48)
    assert out.alpha[:, :20].max() < 20 < 235 < out.alpha[:, 28:].min()
    assert out.resolution.per_inch[0] == pytest.approx(200, rel=0.01)
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert summary["size"] == [48, 48]
    assert summary["scores"]["psnr"] > summary["scores_before"]["psnr"]
    assert read("run/pictures/input.png").pixels.shape == (48, 48, 3)
    assert (here / "run" / "comparison.png").exists()
    assert not (here / "run" / "pictures" / "residual.tif").exists()


def test_a_kernel_is_a_name_or_a_picture(here, capsys):
    assert restore("clean.png", "--kernel", "gaussian:1", "-o", "named.png", *TINY) == 0
    assert "blurred by gaussian:1" in capsys.readouterr().err
    assert restore("clean.png", "--kernel", "kernel.tif", "-o", "read.png", *TINY) == 0
    assert "blurred by a kernel of 5x3 pixels" in capsys.readouterr().err
    assert read("read.png").pixels.shape == (48, 48, 3)
    assert kernel_of("motion:3,4") == ("motion:3,4", None)
    assert kernel_of(None) == (None, None)


def test_a_gain_is_undone(here, capsys):
    assert restore("clean.png", "--gain", "gain.png", "-o", "out.png", *LEARNT) == 0
    assert "gain 0.502 to 0.502" in capsys.readouterr().err
    before, after = (to_float(read(name).pixels) for name in ("clean.png", "out.png"))
    assert np.median(after / np.maximum(before, 0.1)) == pytest.approx(255 / 128, rel=0.1)


@pytest.mark.parametrize("orientation", [1, 6, 8, 5])
def test_a_jpeg_is_restored_as_it_is_in_the_file_and_put_upright(here, capsys, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    pixels = cat(40)[:32]
    Image.fromarray(pixels).save("turned.jpg", quality=10, exif=exif)
    upright = read("turned.jpg")
    write("clean_upright.png", Picture(_upright(pixels, orientation)))
    place = ["turned.jpg", "--task", "dejpeg", "-o", "out.png", "--json", *LEARNT]
    assert restore(*place, "--clean", "clean_upright.png") == 0
    said = capsys.readouterr()
    assert "JPEG of quality 10" in said.err
    scores = json.loads(said.out)
    assert scores["scores_before"]["psnr"] == pytest.approx(
        psnr(upright.pixels / 255, read("clean_upright.png").pixels / 255, data_range=1.0)
    )
    out = read("out.png")
    assert out.pixels.shape == upright.pixels.shape
    found = psnr(out.pixels / 255, read("clean_upright.png").pixels / 255, data_range=1.0)
    assert found == pytest.approx(scores["scores"]["psnr"], abs=0.02)


def _upright(pixels, orientation):
    image = Image.fromarray(pixels)
    turns = {6: "ROTATE_270", 8: "ROTATE_90", 5: "TRANSPOSE"}
    if orientation in turns:
        image = image.transpose(getattr(Image.Transpose, turns[orientation]))
    return np.asarray(image)


@pytest.mark.parametrize("quality", [5, 10, 50, 75, 92])
def test_the_quality_is_read_from_the_tables(here, quality):
    Image.fromarray(cat()).save("some.jpg", quality=quality)
    with Image.open("some.jpg") as image:
        table = np.array(image.quantization[0], float).reshape(8, 8)
    assert Tables(table, table, (1, 1)).quality == quality
    assert Tables(USUAL_LUMA * 1.02, table, (1, 1)).quality == pytest.approx(50, abs=2)


@pytest.mark.parametrize("given", [["--noise", "gaussian:30"], ["--mask", "mask.png"]])
def test_only_a_region_is_changed(here, capsys, given):
    noisy = cat() + np.random.default_rng(0).normal(0, 30, (48, 48, 3))
    write("noisy.png", Picture(noisy.clip(0, 255).astype(np.uint8)))
    region = ["--region", "8,4,32,16"]
    place = ["noisy.png", "-o", "out.png", "--json", "--run-dir", "run", *given, *region]
    assert restore(*place, "--clean", "clean.png", *LEARNT) == 0
    said = capsys.readouterr()
    assert "region 8,4,32,16" in said.err
    before, after, clean = (read(name).pixels for name in ("noisy.png", "out.png", "clean.png"))
    changed = (before != after).any(axis=2)
    inside = np.zeros((48, 48), bool)
    inside[4:20, 8:40] = True
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.2
    scored = psnr(after[4:20, 8:40] / 255, clean[4:20, 8:40] / 255, data_range=1.0)
    assert scored == pytest.approx(json.loads(said.out)["scores"]["psnr"], abs=0.1)
    write("part.png", Picture(before[4:20, 8:40]))
    if given[0] == "--noise":
        assert restore("part.png", "-o", "alone.png", *given, *LEARNT) == 0
        assert np.array_equal(read("alone.png").pixels, after[4:20, 8:40])


def test_a_task_is_told_by_what_is_given():
    given = {"inpaint": None, "super-resolve": 2, "deblur": None}
    assert task_of(None, given) == "super-resolve"
    assert task_of("dejpeg", given) == "dejpeg"
    assert task_of(None, {"inpaint": None}) is None


REFUSED = {
    "mask of everything": (["holes.png", "--mask", "all.png"], "there is nothing to start from"),
    "mask of nothing": (["holes.png", "--mask", "none.png"], "no pixel is missing"),
    "mask of another size": (["holes.png", "--mask", "small.png"], "the mask is 24x24 pixels"),
    "no mask": (["holes.png", "--task", "inpaint"], "no pixel is missing: give a mask"),
    "mask that is not there": (["holes.png", "--mask", "nowhere.png"], "nowhere.png"),
    "two tasks": (["holes.png", "--mask", "mask.png", "--scale", "2"], "enlarge is for the task"),
    "mask for another task": (
        ["holes.png", "--mask", "mask.png", "--kernel", "gaussian:2", "--task", "deblur"],
        "without missing pixels",
    ),
    "scale": (["small.png", "--scale", "9"], "--scale cannot be '9': try 8 or less"),
    "scale of one": (["small.png", "--scale", "1"], "--scale cannot be '1': try 2 or more"),
    "too large": (["small.png", "--scale", "8", "--max-pixels", "9999"], "try a smaller --scale"),
    "no kernel": (["clean.png", "--task", "deblur"], "needs the blur's kernel"),
    "kernel's name": (["clean.png", "--kernel", "gaussian:x"], "is no kernel"),
    "kernel without a number": (["clean.png", "--kernel", "gaussian"], "'gaussian' is no kernel"),
    "kernel of no kind": (["clean.png", "--kernel", "box:3"], "'box:3' is no kernel"),
    "kernel's file": (["clean.png", "--kernel", "point.png"], "point.png: no such file"),
    "even kernel": (["clean.png", "--kernel", "small.png"], "two odd sides"),
    "not a JPEG": (["clean.png", "--task", "dejpeg"], "no quantisation tables"),
    "gain's size": (["clean.png", "--gain", "small.png"], "does not fit an image of 48x48"),
    "region of what": (["clean.png", "--region", "1,2,3"], "try X,Y,WIDTH,HEIGHT"),
    "region of nothing": (["clean.png", "--region", "1,2,0,3"], "at least one pixel"),
    "region beside": (["clean.png", "--region", "40,0,9,9"], "does not lie in a picture of 48x48"),
    "region enlarged": (
        ["small.png", "--scale", "2", "--region", "0,0,9,9"],
        "leave it out, or try a crop",
    ),
    "operator": (["clean.png", "--task", "invert"], "no operator to invert"),
    "clean of the wrong size": (
        ["small.png", "--scale", "2", "--clean", "small.png"],
        "what comes of small.png is 48x48 RGB",
    ),
    "stage of the report": (
        ["clean.png", "--scale", "2", "--supervision", "clean-guides"],
        "clean-guides see the clean image",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(here, capsys, arguments, message):
    write("all.png", Picture(np.full((48, 48), 255, np.uint8)))
    write("none.png", Picture(np.zeros((48, 48), np.uint8)))
    assert restore(*arguments, "-o", "out.png", *TINY) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (here / "out.png").exists()


@pytest.mark.parametrize(
    "given",
    [
        ["holes.png", "--mask", "mask.png", "--invert-mask"],
        ["clean.png", "--kernel", "kernel.tif"],
        ["clean.png", "--gain", "gain.png", "--region", "3,5,32,30"],
        ["holes.png", "--mask", "mask.png", "--region", "8,4,32,16"],
        ["picture.jpg", "--task", "dejpeg"],
        ["small.png", "--scale", "2"],
    ],
    ids=lambda given: given[-2],
)
def test_a_task_that_is_cut_goes_on_without_being_told_again(here, capsys, monkeypatch, given):
    settings = [*TINY, "--steps", "24", "--seed", "3"]
    assert restore(*given, "-o", "whole.png", *settings) == 0
    from guided_dip.restoration import Restoration

    taken = Restoration.take

    def interrupted(self, course, step):
        if step.index == 21:
            signal.raise_signal(signal.SIGINT)
        return taken(self, course, step)

    with monkeypatch.context() as patched:
        patched.setattr(Restoration, "take", interrupted)
        assert restore(*given, "-o", "out.png", "--run-dir", "run", *settings) == 130
    assert "to go on" in capsys.readouterr().err
    estimates = list((here / "run").glob("estimate.*"))
    assert len(estimates) == 1
    assert read(estimates[0]).pixels.shape == read("whole.png").pixels.shape
    assert restore(given[0], "--resume", "run", "-o", "out.png") == 0
    assert np.array_equal(read("out.png").pixels, read("whole.png").pixels)


def test_a_resumed_run_is_not_told_its_task_again(here, capsys):
    for option in (["--mask", "mask.png"], ["--scale", "2"], ["--invert-mask"], ["--gain", "g"]):
        assert restore("holes.png", "--resume", "run", "-o", "out.png", *option) == 2
        assert f"leave out {option[0]}" in capsys.readouterr().err


def test_plain_dip_does_every_task(here):
    """To compare with: the fit of z goes through the same operators."""
    plain = ["--supervision", "observation", "--steps", "4", "--set", "threads=1"]
    plain += ["--set", "backbone_options={width: 4, scales: 2}"]
    for name, given in {
        "holes.png": ["--mask", "mask.png"],
        "small.png": ["--scale", "2"],
        "clean.png": ["--kernel", "gaussian:1"],
    }.items():
        assert restore(name, *given, "-o", "out.png", "--overwrite", *plain) == 0
        pixels = read("out.png").pixels
        assert pixels.shape == (48, 48, 3)
        assert math.isfinite(float(pixels.std()))
