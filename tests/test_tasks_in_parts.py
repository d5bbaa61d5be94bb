"""Large pictures in tasks: a window is a problem of its own, and parts make up the whole."""

import importlib
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from guided_dip import sizing
from guided_dip.config import fill_in, make_config
from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError
from guided_dip.guidance import Patches, make_plan
from guided_dip.jpeg import Rounding, read_tables
from guided_dip.operators import Blur, Gain, gaussian_kernel, parse_kernel
from guided_dip.restoration import Checkpoint, Known, prepare, run_together
from guided_dip.restoration import run as run_module
from guided_dip.tasks import Deblur, Degain, Dejpeg

SCHEDULE = make_schedule("cosine", lower_clip=1e-4)
SIZE = (150, 202)  # no multiples of anything
SUBSAMPLINGS = ["4:4:4", "4:2:2", "4:2:0", "gray"]


def cat(size=SIZE):
    return data.chelsea()[20 : 20 + size[0], 100 : 100 + size[1]]


def tensor(pixels):
    pixels = np.atleast_3d(pixels).astype(np.float64) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def jpeg(subsampling="4:2:0", size=SIZE, quality=10):
    file = io.BytesIO()
    image = Image.fromarray(cat(size))
    if subsampling == "gray":
        image.convert("L").save(file, "JPEG", quality=quality)
    else:
        image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    file.seek(0)
    return Image.open(file)


def rounding(subsampling="4:2:0", size=SIZE):
    file = jpeg(subsampling, size)
    return Rounding(tensor(np.asarray(file)), read_tables(file))


def plan(side=48, count=2, steps=400):
    patches = Patches(side, count, math.prod(SIZE))
    return make_plan(
        "recorrupted-guides", SCHEDULE, steps=steps, count=count, sigma=0.1, patches=patches
    )


def window(multiple, top, left, height, width):
    """A window that begins at multiples, and lies in the picture but for its last rows."""
    rows, columns = (
        (part % size) // multiple * multiple for part, size in zip((top, left), SIZE, strict=True)
    )
    return slice(rows, rows + height), slice(columns, columns + width)


windows = st.tuples(
    st.integers(0, 149), st.integers(0, 201), st.integers(1, 100), st.integers(1, 100)
)


# JPEG


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@settings(max_examples=25, deadline=None)
@given(place=windows)
def test_a_window_s_noise_is_the_whole_s(subsampling, place):
    """But for its last pixel at each side, where chroma is smoothed over the border."""
    whole = rounding(subsampling)
    part = window(whole.multiple, *place)
    height, width = (min(p.stop, size) - p.start for p, size in zip(part, SIZE, strict=True))
    channels = 1 if subsampling == "gray" else 3
    white = torch.randn((1, channels, 300, 310), generator=torch.Generator().manual_seed(0))
    white[..., SIZE[0] :, :] = white[..., SIZE[0] - 1 : SIZE[0], :]  # as the last blocks are filled
    white[..., SIZE[1] :] = white[..., SIZE[1] - 1 : SIZE[1]]
    expected = whole(white[..., : SIZE[0], : SIZE[1]].double())[..., *part]
    # whole blocks of it, as a window that ends in one has its own filled up
    ends = [-(-p.stop // whole.multiple) * whole.multiple for p in part]
    wide = tuple(slice(p.start, end) for p, end in zip(part, ends, strict=True))
    drawn = whole.part(wide)(white[..., *wide].double())
    assert drawn.shape[-2:] == tuple(p.stop - p.start for p in wide)
    edge = slice(0, None) if subsampling in ("gray", "4:4:4") else slice(1, -1)
    found = drawn[..., :height, :width][..., edge, edge]
    torch.testing.assert_close(found, expected[..., edge, edge], rtol=0, atol=1e-6)
    own = whole.part(part)(white[..., *part].double())
    assert own.shape[-2:] == tuple(p.stop - p.start for p in part)
    assert torch.isfinite(own).all()


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@settings(max_examples=25, deadline=None)
@given(place=windows)
def test_a_window_lies_within_its_own_intervals(subsampling, place):
    whole = rounding(subsampling)
    rows, columns = window(whole.multiple, *place)
    part = slice(rows.start, min(rows.stop, SIZE[0])), slice(columns.start, SIZE[1])
    channels = 1 if subsampling == "gray" else 3
    image = torch.rand((1, channels, *SIZE), generator=torch.Generator().manual_seed(1)).double()
    found = whole.part(part).within(image[..., *part])
    height, width = (length - length % 8 for length in found.shape[-2:])  # whole blocks
    expected = whole.within(image)[..., *part]
    torch.testing.assert_close(
        found[..., :height, :width], expected[..., :height, :width], rtol=0, atol=1e-9
    )
    assert found.shape == expected.shape


def test_parts_begin_with_blocks_of_chroma():
    assert [rounding(kind).multiple for kind in SUBSAMPLINGS] == [8, 16, 16, 8]
    whole = rounding()
    assert whole.part(None) is whole
    assert Dejpeg(whole).multiple == 16


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_squares_of_a_jpeg_are_whole_blocks_with_their_noise(subsampling):
    whole, y = rounding(subsampling), tensor(np.asarray(jpeg(subsampling)))
    guides = Dejpeg(whole).guides(y, plan(), sigma=0.0, seed=0)
    a = guides._strength(0)
    power, seen = torch.zeros_like(y), torch.zeros_like(y)
    for step in range(400):
        pair = guides.pair(0, step)
        rows, columns = pair.window
        assert rows.start % whole.multiple == columns.start % whole.multiple == 0
        assert rows.stop <= SIZE[0]
        assert columns.stop <= SIZE[1]
        part = y[..., rows, columns]
        eta = (pair.input - part) / a
        torch.testing.assert_close(part - pair.target, eta / a)
        power[..., rows, columns] += eta**2
        seen[..., rows, columns] += 1
    draws = torch.stack([whole(torch.randn(y.shape).double()) for _ in range(60)])
    expected = draws.square().mean(0)
    often = (seen > 20).all(1, keepdim=True).expand_as(y)
    found = (power / seen.clamp_min(1))[often]
    assert often.double().mean() > 0.5
    assert found.mean().item() == pytest.approx(expected[often].mean().item(), rel=0.05)
    # pixel by pixel as well: flat blocks have next to none
    assert np.corrcoef(found.numpy(), expected[often].numpy())[0, 1] > 0.8


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_final_draws_of_a_jpeg_are_the_same_in_every_window(subsampling):
    y = tensor(np.asarray(jpeg(subsampling)))
    guides = Dejpeg(rounding(subsampling)).guides(y, plan(), sigma=0.0, seed=0)
    wide = guides.final_input(1, 3, (slice(0, 160), slice(0, 208)))  # as tiles end, beyond it
    part = guides.final_input(1, 3, (slice(48, 128), slice(32, 96)))
    torch.testing.assert_close(part[..., 1:-1, 1:-1], wide[..., 49:127, 33:95], rtol=0, atol=1e-6)
    assert not torch.equal(part, guides.final_input(1, 4, (slice(48, 128), slice(32, 96))))
    drawn = torch.stack(
        [guides.final_input(1, k, (slice(0, 160), slice(0, 208))) for k in range(40)]
    )
    found = (drawn[..., : SIZE[0], : SIZE[1]] - y) / guides._strength(1)
    whole = torch.stack([guides.final_input(1, k) for k in range(40)]) - y
    assert found.std().item() == pytest.approx((whole / guides._strength(1)).std().item(), rel=0.03)


# Gains


def uneven(size=SIZE, channels=1):
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    gain = 1 - 0.45 * (x**2 + y**2)
    gain[10:20, 30:50] = 0
    return torch.from_numpy(np.stack([gain] * channels))[None].clone()


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=25, deadline=None)
@given(place=windows)
def test_a_window_has_its_own_gain(channels, place):
    task = Degain(Gain(uneven(channels=channels)))
    rows, columns = window(1, *place)
    part = slice(rows.start, min(rows.stop, SIZE[0])), slice(columns.start, SIZE[1])
    x = tensor(cat())
    y = task.operator(x)
    torch.testing.assert_close(task.lift(y[..., *part], part), task.lift(y)[..., *part])
    beyond = slice(96, 160), slice(160, 208)
    assert task.lift(torch.ones(1, 3, 64, 48), beyond).shape == (1, 3, 64, 48)


def test_outputs_are_multiplied_by_the_gain_of_their_square():
    task, x = Degain(Gain(uneven())), tensor(cat())
    y = task.operator(x)
    guides = task.guides(y, plan(), sigma=0.1, seed=0)
    for step in range(20):
        pair = guides.pair(0, step)
        measured = task.operator(x)[..., *pair.window]
        shown = task.compared(x[..., *pair.window]) * pair.weight
        torch.testing.assert_close(shown, measured)
        a = guides._strength(0)
        eta = (y[..., *pair.window] - pair.target) * a
        torch.testing.assert_close(
            pair.input, task.lift(y[..., *pair.window] + a * eta, pair.window)
        )


# Blur


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["gaussian:1.5", "motion:9,20"]), windows)
def test_a_window_of_a_blurred_picture_is_a_blurred_picture(text, place):
    """It is measured of its own image and that image's frame, which is cut off."""
    task = Deblur(Blur(parse_kernel(text)))
    x = tensor(cat())
    y, (down, across) = task.operator(x), task.reach
    rows, columns = window(1, *place)
    rows, columns = slice(rows.start // 2, rows.stop // 2 + 1), slice(columns.start // 2, 150)
    image = x[..., rows.start : rows.stop + 2 * down, columns.start : columns.stop + 2 * across]
    torch.testing.assert_close(task.operator(image), y[..., rows, columns])
    assert torch.equal(task.cut(image), task.cut(x)[..., rows, columns])


@pytest.mark.parametrize("text", ["gaussian:1.0", "gaussian:2.0", "gaussian:4.0", "motion:15,30"])
def test_a_window_with_a_tile_s_margin_is_lifted_as_the_whole(text):
    task = Deblur(Blur(parse_kernel(text)))
    x = tensor(data.camera()).float()
    noise = 2 / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = task.operator(x + noise)
    whole, margin = task.cut(task.lift(y)), sizing.margin(max(task.reach))
    core = slice(200, 264), slice(180, 244)
    outer = tuple(slice(part.start - margin, part.stop + margin) for part in core)
    lifted = task.cut(task.lift(y[..., *outer], outer))[..., margin:-margin, margin:-margin]
    apart = lifted - whole[..., *core]
    error = whole[..., *core] - task.cut(x)[..., *core]
    assert apart.std() < 0.15 * error.std()
    assert apart.std() < 1.5 / 255


# From end to end

TASKS = ["deblur", "dejpeg", "degain"]
SETTINGS = {
    "backbone_options": {"width": 12, "scales": 3},
    "effort": "fast",
    "threads": 1,
    "restarts": 1,
    "device": "cpu",
    "precision": "float32",
    "check_noise": False,
    "grain": "white",
    "steps": 150,
    "final_draws": 4,
}
IN_PARTS = {"patch": 96, "patch_guides": 5, "tile": 64}


def prepared(name, given=(), *, size=(104, 136)):
    """A small restoration of a task; of gray where least squares take their time."""
    clean = (cat(size) / 255).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 5 / 255, clean.shape).astype(np.float32)
    own, known = {"task": name, "noise": "gaussian:5"}, Known()
    if name == "deblur":
        blur, gray = Blur(gaussian_kernel(1.0)), tensor(cat(size)[..., 1])
        (down, across), blurred = blur.reach, blur(gray)[0, 0].numpy().astype(np.float32)
        y = blurred + noise[: blurred.shape[0], : blurred.shape[1], 0]
        clean = clean[down:-down, across:-across, 1]
        own["kernel"] = "gaussian:1"
    elif name == "dejpeg":
        file = jpeg(size=size)
        y, known, own = np.asarray(file), Known(tables=read_tables(file)), {"task": name}
    else:
        gain = uneven(size)[0, 0].numpy().astype(np.float32)
        y, known = clean * gain[..., None] + noise, Known(gain=gain)
    return prepare(y, make_config(SETTINGS | own | dict(given)), known, clean=clean)


@pytest.mark.parametrize("name", TASKS)
def test_little_memory_makes_for_squares_and_tiles(name, monkeypatch):
    monkeypatch.setattr(sizing, "PROGRAM", 0)
    usual = prepared(name, size=SIZE)
    assert (usual.config.patch, usual.config.tile) == (0, 0)
    reach = max(usual.task.reach)
    height, width, channels = usual.pixels.shape
    footprint = sizing.Footprint((height, width), channels, 12, reach=reach)
    memory = footprint.bytes(sizing.Sizes(96, 5, 96), 5)
    assert memory < footprint.bytes(sizing.Sizes(0, 0, 0), 5)
    restoration = prepared(name, {"max_memory": str(memory), "steps": 300}, size=SIZE)
    c = restoration.config
    assert (c.patch, c.patch_guides) == (96, 5)
    assert c.tile == 96
    assert {stage.patch for stage in restoration.plan} == {c.patch}
    found = restoration.run()
    assert found.scores.psnr > found.scores_before.psnr + {"dejpeg": 0.1}.get(name, 1)
    assert found.image.shape == found.spread.shape == usual.shape
    assert all(record.psnr is not None for record in found.records)
    with pytest.raises(InputError, match=r"of max_memory: try --max-memory"):
        prepared(name, {"max_memory": str(memory // 2)}, size=SIZE)


@pytest.mark.parametrize("name", TASKS)
def test_tiles_are_the_whole_without_seams(name):
    """The same fit, computed at once and in tiles; its final draws have other noise."""
    given = {"steps": 60, "final_draws": 4}
    whole, tiled = (prepared(name, given | {"tile": tile}).run() for tile in (0, 64))
    assert [record.loss for record in tiled.records] == [record.loss for record in whole.records]
    assert tiled.scores.psnr == pytest.approx(whole.scores.psnr, abs=0.2)
    apart = np.atleast_3d(np.abs(tiled.image.astype(float) - whole.image))
    for axis in (0, 1):
        steps = np.abs(np.diff(apart, axis=axis)).mean(axis=(1 - axis, 2))
        seams = np.arange(63, len(steps), 64)
        inside = np.delete(steps, seams)
        assert steps[seams].mean() < inside.mean() + 3 * inside.std() / np.sqrt(len(seams))


@pytest.mark.parametrize("name", TASKS)
def test_large_snapshots_show_the_middle(name, monkeypatch):
    monkeypatch.setattr(run_module, "SHOWN", 40)
    restoration = prepared(name, IN_PARTS | {"steps": 8, "final_draws": 2})
    result = restoration.run()
    for part in restoration.shown:
        assert part.stop - part.start == 40
        assert part.start % restoration.task.multiple == 0
    assert all(pixels.shape[:2] == (40, 40) for _, pixels in result.snapshots)
    _, last = result.snapshots[-1]
    shown = np.atleast_3d(result.image)[restoration.shown] / (255 if name == "dejpeg" else 1)
    assert np.abs(last - shown).mean() < 0.05
    step, around = prepared(name, IN_PARTS | {"steps": 8}).pace()
    assert step > 0 < around


class CutError(Exception):
    pass


@pytest.mark.parametrize("name", TASKS)
def test_a_run_in_parts_goes_on_to_the_same_bytes(name):
    given = IN_PARTS | {"steps": 24, "restarts": 2, "final_draws": 2}
    whole, cut = prepared(name, given).run(), prepared(name, given)

    def on_step(record):
        if record.step == 17:
            raise CutError

    with pytest.raises(CutError):
        cut.run(on_step)
    checkpoint = Checkpoint.from_bytes(cut.checkpoint().to_bytes())
    again = prepared(name, given).run(resume=checkpoint)
    assert again.image.tobytes() == whole.image.tobytes()
    assert again.spread.tobytes() == whole.spread.tobytes()
    assert [r.psnr for r in again.records] == [r.psnr for r in whole.records]


def test_gains_in_parts_are_undone_together_as_alone():
    given = IN_PARTS | {"steps": 20, "final_draws": 1}
    alone = prepared("degain", given | {"seed": 1}).run()
    _, found = run_together([prepared("degain", given | {"seed": seed}) for seed in (0, 1)])
    assert found.records[0].loss == pytest.approx(alone.records[0].loss, rel=1e-4)
    assert found.scores.psnr == pytest.approx(alone.scores.psnr, abs=0.3)


@pytest.mark.parametrize("patch", [100, 41])
def test_squares_of_any_side_are_taken(patch):
    result = prepared("dejpeg", {"patch": patch, "tile": 50, "patch_guides": 3, "steps": 12}).run()
    assert result.image.shape == (104, 136, 3)
    assert all(math.isfinite(record.psnr) for record in result.records)


# What is chosen


def sizes_of(size, **settings):
    config = fill_in(make_config(settings), size=size, reach=20 if "kernel" in settings else 0)
    return config.patch, config.patch_guides, config.tile


@pytest.mark.parametrize(
    "task", [{"task": "dejpeg"}, {"task": "degain"}, {"task": "deblur", "kernel": "gaussian:5"}]
)
def test_small_pictures_are_whole_at_every_step(task):
    assert sizes_of((64, 64), **task) == (0, 0, 0)
    assert sizes_of((512, 1024), **task) == (0, 0, 0)
    assert sizes_of((512, 1025), **task) == (256, 5, 512)
    assert sizes_of((3000, 4000), **task) == (256, 5, 512)


def test_a_large_picture_in_parts_is_prepared_where_the_whole_would_be_refused(monkeypatch):
    room = importlib.import_module("guided_dip.restoration.prepare")
    monkeypatch.setattr(room, "total_memory", lambda _: 4 * 2**30)
    image = np.random.default_rng(0).random((900, 1000)).astype(np.float32)
    usual = {**SETTINGS, "noise": "gaussian:5", "backbone_options": {"width": 48}}
    blurred = make_config(usual | {"task": "deblur", "kernel": "gaussian:1"})
    assert prepare(image, blurred).config.tile == 512
    refused = "in the task {}, more than the 2GiB it may take: try a crop of it"
    with pytest.raises(InputError, match=refused.format("super-resolve")):
        prepare(image, make_config(usual | {"task": "super-resolve"}))
    with pytest.raises(InputError, match=refused.format("invert")):
        prepare(image, make_config(usual | {"task": "invert"}), Known(operator=lambda x: x))
    whole = usual | {"task": "deblur", "kernel": "gaussian:1", "stopping": "es-wmv"}
    with pytest.raises(InputError, match=refused.format("deblur")):
        prepare(image, make_config(whole))
