"""What a run looks at, at a time: as before where that fits, in parts where it does not."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guided_dip import memory, restore
from guided_dip.cli import run as command
from guided_dip.config import fill_in, make_config
from guided_dip.errors import InputError
from guided_dip.images import Picture, read, write
from guided_dip.memory import total_memory
from guided_dip.restoration import prepare
from guided_dip.restoration import run as run_module
from guided_dip.sampling import ENOUGH, sampled
from guided_dip.sizing import Footprint, Sizes, choose, parse_bytes, told_bytes

MEGA, GIBI = 10**6, 2**30
SMALL = {"backbone_options": {"width": 4, "scales": 2}, "threads": 1, "precision": "float32"}


def sizes_of(size, **settings):
    config = fill_in(make_config(settings), size=size)
    return config.patch, config.patch_guides, config.tile


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), (0, 0, 0)),
        ((256, 256), (128, 2, 0)),
        ((512, 512), (256, 2, 0)),
        ((512, 768), (256, 2, 0)),
        ((512, 1025), (256, 5, 512)),
        ((1000, 1000), (256, 5, 512)),
        ((3000, 4000), (256, 5, 512)),
        ((100, 20000), (96, 5, 512)),
        ((40, 20000), (40, 5, 512)),
        ((20, 50000), (0, 0, 512)),
    ],
)
def test_small_pictures_whole_and_large_ones_in_parts(size, expected):
    assert sizes_of(size) == expected


@pytest.mark.parametrize(
    ("size", "pages", "expected"),
    [
        ((512, 128), 4, (128, 5, 512)),
        ((2560, 256), 10, (256, 5, 512)),
        ((300, 70), 5, (60, 5, 512)),
        ((3000, 4000), 2, (256, 5, 512)),
    ],
)
def test_pages_are_looked_at_in_squares_of_one(size, pages, expected):
    assert sizes_of(size, pages=pages) == expected
    assert sizes_of((size[0] // pages, size[1])) != expected or size[0] > 2000


def test_memory_is_that_of_all_pages_and_a_step_on_a_square():
    alone = Footprint((256, 256)).bytes(Sizes(128, 5, 256), 5)
    four = Footprint((1024, 256), pages=4).bytes(Sizes(128, 5, 256), 5)
    assert 0 < four - alone < 3 * 256 * 256 * 16 * 4 * 3 + 48 * 32 * 256 * 256


def test_what_is_given_stays():
    assert sizes_of((3000, 4000), patch=512, tile=0) == (512, 5, 0)
    assert sizes_of((3000, 4000), patch_guides=1) == (256, 1, 512)
    assert sizes_of((3000, 4000), patch=0) == (0, 0, 512)
    assert sizes_of((256, 256), patch_guides=5) == (128, 5, 0)
    assert sizes_of((256, 256), tile=100) == (128, 2, 100)
    assert sizes_of((256, 256), count=2) == (128, 1, 0)
    assert sizes_of((256, 256), count=1) == (128, 0, 0)


@pytest.mark.parametrize(
    "settings", [{"backbone": "unet"}, {"stopping": "es-wmv"}, {"output_average": 0.5}]
)
def test_what_needs_the_whole_image_has_it_and_no_bound(settings):
    assert sizes_of((2000, 2000), **settings) == (0, 0, 0)
    with pytest.raises(InputError, match="max_memory is for recorrupted guides"):
        sizes_of((2000, 2000), max_memory="3GiB", **settings)


@given(
    st.integers(16, 6000),
    st.integers(16, 6000),
    st.integers(1, 4),
    st.sampled_from([4, 32, 48]),
    st.sampled_from(["float32", "bfloat16"]),
    st.floats(0.3, 20),
    st.sampled_from([0, 0, 8, 127]),
)
def test_the_choice_fits_or_is_refused_with_what_would(
    height, width, channels, network, precision, gibi, reach
):
    footprint = Footprint((height, width), channels, network, precision, reach=reach)
    limit = int(gibi * GIBI)
    try:
        found = choose(Sizes(), footprint, 5, limit=limit, stated=True)
    except InputError as error:
        amount = parse_bytes(str(error).split("--max-memory ")[1].split(",")[0])
        assert amount > limit
        found = choose(Sizes(), footprint, 5, limit=amount, stated=True)
        limit = amount
    assert footprint.bytes(found, 5) <= limit
    assert (found.patch or 0) <= min(height, width)
    # chosen by a machine's memory nothing is refused
    assert choose(Sizes(), footprint, 5, limit=1).tile
    # what was chosen stays chosen, whatever the machine
    assert choose(found, footprint, 5, limit=1) == found


def test_less_memory_makes_for_smaller_parts():
    footprint = Footprint((3000, 4000), 3, 48, "float32")
    limits = [footprint.bytes(Sizes(patch, 5, max(64, patch)), 5) for patch in (96, 128, 256)]
    found = [choose(Sizes(), footprint, 5, limit=limit) for limit in (*limits, 10**12)]
    assert [sizes.patch for sizes in found] == [96, 128, 256, 256]
    assert found[-1].tile == 512 > found[-2].tile
    blurred = Footprint((3000, 4000), 3, 48, "float32", reach=20)  # its frames take some
    sizes = choose(Sizes(), blurred, 5, limit=limits[1])
    assert blurred.bytes(sizes, 5) > footprint.bytes(sizes, 5)
    small = Footprint((512, 512), 3, 48, "float32")
    assert choose(Sizes(), small, 5, limit=4 * GIBI, squares=False) == Sizes(0, 0, 0)
    assert choose(Sizes(), small, 5, limit=GIBI, squares=False).guides == 5
    assert choose(Sizes(), small, 5, limit=GIBI).guides == 5
    assert choose(Sizes(), small, 5, limit=4 * GIBI).guides == 2


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("3GiB", 3 * GIBI), ("800MB", 800 * MEGA), ("2.5 GB", 2500 * MEGA), ("1g", 1000 * MEGA),
        ("1024", 1024), ("64 kib", 65536), ("1TiB", 2**40),
    ],
)  # fmt: skip
def test_amounts_of_memory(text, amount):
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "lots", "-1GB", "0", "0.1", "3 GiB more", "1e9", "GB"])
def test_amounts_that_are_none(text):
    with pytest.raises(InputError, match=r"max_memory .* is no amount of memory: try 3GiB"):
        make_config({"max_memory": text})


@given(st.integers(1, 2**45))
def test_told_amounts_are_no_smaller(amount):
    assert amount <= parse_bytes(told_bytes(amount)) <= amount * 1.1 + 2**20


def test_the_machine_has_memory(tmp_path, monkeypatch):
    assert total_memory() > 2**28
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (limit,))
    limit.write_text("max\n")
    whole = total_memory()
    limit.write_text("1000000\n")
    assert total_memory() == 1000000 < whole


def test_large_pictures_are_sampled_and_small_ones_are_not():
    small = np.zeros((1024, 2048, 3), np.float32)
    assert sampled(small) is small
    image = np.arange(3000 * 1500, dtype=np.float32).reshape(3000, 1500)
    found = sampled(image)
    assert found.shape == (256, 256 * (ENOUGH // 256**2))
    assert len(np.unique(found)) == found.size
    assert abs(found.mean() / image.mean() - 1) < 0.2
    assert np.array_equal(sampled(np.dstack([image] * 2))[..., 1], found)
    assert sampled(np.zeros((5, 3_000_000))).shape[0] == 5


# In parts, from end to end


def noisy(shape=(150, 202, 3), seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    clean = 0.5 + 0.3 * np.sin(columns / 11)[..., None] * np.cos(rows / 7)[..., None]
    clean = np.broadcast_to(clean, shape).astype(np.float32)
    return clean, clean + rng.normal(0, 25 / 255, shape).astype(np.float32)


PARTS = {"patch": 64, "patch_guides": 5, "tile": 64, "noise": "gaussian:25", **SMALL}


def test_in_parts_it_restores_as_well():
    clean, image = noisy()
    found: dict = {}
    for name, settings in {"parts": PARTS, "whole": PARTS | {"tile": 0}}.items():
        found[name] = restore(image, clean=clean, steps=250, **settings)
    parts, whole = found["parts"], found["whole"]
    assert [stage.patch for stage in parts.plan] == [64] * 5
    assert parts.scores.psnr > parts.scores_before.psnr + 5
    # the same fit, seen through other noise of the final draws
    assert [r.loss for r in parts.records] == [r.loss for r in whole.records]
    assert parts.scores.psnr == pytest.approx(whole.scores.psnr, abs=0.1)
    assert parts.spread.shape == image.shape
    assert parts.residual.std == pytest.approx(whole.residual.std, rel=0.02)
    other = restore(image, steps=250, **PARTS | {"tile": 96})
    # another tiling differs by what the margins leave out
    assert np.abs(other.image - parts.image).max() < 2 / 255


def test_seams_cannot_be_seen():
    """A step across a seam is no larger than one within a tile."""
    clean, image = noisy((256, 256, 3))
    error = restore(image, steps=150, **PARTS | {"tile": 32}).image - clean
    steps = np.abs(np.diff(error, axis=0)).mean(axis=(1, 2))
    seams = np.arange(31, 255, 32)
    within = np.delete(steps, seams)
    assert steps[seams].mean() < within.mean() + 3 * within.std() / np.sqrt(len(seams))


def test_large_snapshots_show_the_middle(monkeypatch):
    monkeypatch.setattr(run_module, "SHOWN", 40)
    clean, image = noisy()
    restoration = prepare(image, make_config(PARTS | {"steps": 8}), clean=clean)
    result = restoration.run()
    assert restoration.shown == (slice(55, 95), slice(81, 121))
    assert all(pixels.shape == (40, 40, 3) for _, pixels in result.snapshots)
    assert result.snapshots[-1][0] == 7
    step, around = prepare(image, make_config(PARTS | {"steps": 8})).pace()
    assert step > 0 < around


def test_memory_that_does_not_suffice_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("noisy.png", Picture((noisy()[1].clip(0, 1) * 255).astype(np.uint8)))
    assert command(["restore", "noisy.png", "-o", "out.png", "--max-memory", "300MB"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "202x150 pixels takes" in error
    assert "try --max-memory" in error
    assert not (tmp_path / "out.png").exists()
    assert command(["restore", "noisy.png", "-o", "out.png", "--max-memory", "much"]) == 2
    assert "max_memory 'much' is no amount of memory" in capsys.readouterr().err


def test_max_memory_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("noisy.png", Picture((noisy()[1].clip(0, 1) * 255).astype(np.uint8)))
    monkeypatch.setattr("guided_dip.sizing.PROGRAM", 0)
    tiny = [f"--set={key}={value}" for key, value in {**SMALL, "steps": 5}.items()]
    tiny[0] = "--set=backbone_options={width: 24, scales: 2}"
    given = ["restore", "noisy.png", *tiny, "--max-memory", "33MB", "--run-dir", "run", "--quiet"]
    assert command(given) == 0
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "max_memory: 33MB" in text
    assert "patch_guides: 5" in text
    again = ["restore", "noisy.png", "--config", "run/config.yaml", "-o", "out.png", "--quiet"]
    assert command(again) == 0
    assert np.array_equal(read("out.png").pixels, read("run/restored.png").pixels)


BOUND = """
import numpy as np
from guided_dip import restore
from guided_dip.memory import peak_memory
image = np.random.default_rng(0).normal(0.5, 0.1, (1024, 1024, 3)).astype("float32")
result = restore(image, noise="gaussian:25", steps=3, final_draws=2, threads=1, {settings})
print(result.config.patch, result.config.tile, peak_memory())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts it")
@pytest.mark.parametrize(
    "settings", ["max_memory='850MiB', clean=image", "max_memory='850MiB', precision='float32'"]
)
def test_a_megapixel_stays_within_its_bound(settings):
    code = BOUND.format(settings=settings)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    patch, tile, peak = map(int, done.stdout.split())
    assert 96 <= patch <= 256
    assert tile
    assert peak <= 850
