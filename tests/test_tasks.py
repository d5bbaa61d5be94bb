"""What was done to an image, and its undoing: lifts, several passes, and small restorations."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from guided_dip.config import make_config
from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError
from guided_dip.guidance import make_plan
from guided_dip.jpeg import read_tables
from guided_dip.metrics import psnr
from guided_dip.operators import (
    Blur,
    Downsample,
    Gain,
    agreeing,
    gaussian_kernel,
    parse_kernel,
    resampled,
)
from guided_dip.restoration import Known, prepare, restore
from guided_dip.supervision import SmallerGuides
from guided_dip.supervision.smaller import passes_of
from guided_dip.tasks import DENOISE, Deblur, Degain, _mirrored

SCHEDULE = make_schedule("cosine", lower_clip=1e-4)
SETTINGS = {
    "backbone_options": {"width": 12, "scales": 3},
    "effort": "fast",
    "threads": 1,
    "restarts": 1,
    "device": "cpu",
}


def cat(side=64, step=2):
    return data.chelsea()[20 : 20 + side * step : step, 100 : 100 + side * step : step]


def tensor(pixels):
    pixels = np.atleast_3d(pixels).astype(np.float64) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def pixels_of(image):
    return image[0].permute(1, 2, 0).numpy().astype(np.float32)


def test_denoising_leaves_a_measurement_as_it_is():
    y = tensor(cat())
    assert DENOISE.operator(y) is y
    assert DENOISE.lift(y) is y
    assert DENOISE.finished(y, y) is y


@pytest.mark.parametrize("text", ["gaussian:1.5", "motion:9,20"])
def test_a_lifted_blur_is_sharper_and_has_its_frame(text):
    x, blur = tensor(cat(128, 1)), Blur(parse_kernel(text))
    y, task = blur(x), Deblur(blur)
    lifted = task.lift(y)
    assert lifted.shape == x.shape
    assert task.cut(lifted).shape == y.shape
    inner = (..., slice(40, 70), slice(40, 70))  # where borders, which are guessed, do not ring
    wanted = task.cut(x)[inner]
    error, before = task.cut(lifted)[inner] - wanted, y[inner] - wanted
    assert (error**2).mean() < 0.6 * (before**2).mean()
    gray = torch.full_like(y, 0.5)
    torch.testing.assert_close(task.lift(gray), torch.full_like(x, 0.5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 4), (20, 9)])
def test_small_images_are_mirrored_as_often_as_it_takes(size):
    image = torch.arange(float(math.prod(size))).view(1, 1, *size)
    wide = _mirrored(image, 13, 7)
    assert wide.shape[-2:] == (size[0] + 26, size[1] + 14)
    assert torch.equal(wide[..., 13:-13, 7:-7], image)
    assert set(wide.unique().tolist()) == set(image.unique().tolist())


def test_a_gain_is_divided_by_where_it_can_be():
    x = tensor(cat())
    gain = torch.linspace(0, 2, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    task = Degain(Gain(gain))
    lifted = task.lift(task.operator(x))
    assert torch.isfinite(lifted).all()
    assert (lifted - x)[..., 32:].abs().max() < 0.02
    assert torch.equal(task.finished(x, x), x)


@pytest.mark.parametrize(
    ("scale", "factor", "times"), [(2, 2, 1), (3, 3, 1), (4, 2, 2), (5, 5, 1), (6, 6, 1), (8, 2, 3)]
)
def test_a_scale_is_reached_in_passes(scale, factor, times):
    assert passes_of(scale) == (factor, times)
    assert factor**times == scale


def test_interpolation_is_pillow_s():
    image = np.random.default_rng(0).random((11, 7)).astype(np.float32)
    for size in ((22, 14), (33, 21), (8, 5)):
        theirs = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
        ours = resampled(torch.from_numpy(image)[None, None].double(), size, "bicubic")
        np.testing.assert_allclose(ours[0, 0].numpy(), np.asarray(theirs), atol=2e-6)


def test_back_projection_makes_an_image_agree_with_its_measurement():
    operator = Downsample(2, "lanczos")
    y = operator(tensor(cat()))
    image = resampled(y, (64, 64), "bicubic")
    before, after = (operator(i) - y for i in (image, agreeing(image, y, operator)))
    assert (after**2).mean() < 0.01 * (before**2).mean()


def smaller(scale=4, sigma=0.0):
    y = torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=10, count=2, sigma=0.1)
    return y, plan, SmallerGuides(y, Downsample(scale, "area"), plan, seed=1, sigma=sigma)


def test_smaller_guides_are_the_measurement_in_several_sizes():
    _, _, guides = smaller()
    sizes = set()
    for step in range(60):
        pair = guides.pair(0, step)
        assert pair.apart
        assert pair.input.shape == pair.target.shape
        height, width = pair.target.shape[-2:]
        assert height % 2 == width % 2 == 0
        sizes.add((height, width))
        halved = Downsample(2, "area")(pair.target)
        torch.testing.assert_close(pair.input, resampled(halved, (height, width), "bicubic"))
    assert len(sizes) == 5
    assert max(sizes) == (24, 20)
    assert not guides.draws_differ


def test_the_final_image_is_reached_in_passes_that_agree_with_the_measurement():
    y, _, guides = smaller(scale=4)
    first = guides.final_input(1, 0)
    assert first.shape[-2:] == (48, 40)
    second = guides.again(first, 1)
    assert second.shape[-2:] == (96, 80)
    assert guides.again(second, 2) is None
    agreed = agreeing(first, y, Downsample(2))
    torch.testing.assert_close(second, resampled(agreed, (96, 80), "bicubic"))


def test_smaller_guides_of_a_noisy_measurement_are_recorrupted():
    y, plan, guides = smaller(sigma=0.1)
    assert guides.draws_differ
    targets = [guides.pair(0, step).target for step in range(300)]
    errors = torch.stack([target for target in targets if target.shape == y.shape]) - y
    assert errors.std().item() == pytest.approx(0.1 / plan.stages[0].a, rel=0.05)
    assert not torch.equal(guides.final_input(1, 0), guides.final_input(1, 1))


def restored(image, clean, settings, **known):
    usual = {"noise": "none", "check_noise": False, "grain": "white"}
    prepared = prepare(image, make_config(SETTINGS | usual | settings), Known(**known), clean=clean)
    return prepared, prepared.run()


def test_a_blurred_image_is_restored():
    blur = Blur(gaussian_kernel(1.5))
    x = tensor(cat())
    noise = 0.01 * np.random.default_rng(0).standard_normal((52, 52, 3)).astype(np.float32)
    y, clean = pixels_of(blur(x)) + noise, pixels_of(Deblur(blur).cut(x))
    settings = {"task": "deblur", "kernel": "gaussian:1.5", "noise": "gaussian:2.55", "steps": 150}
    prepared, result = restored(y, clean, settings)
    assert result.image.shape == y.shape
    assert result.scores.psnr > result.scores_before.psnr + 1
    assert result.spread.shape == y.shape
    _, again = restored(y, None, settings | {"kernel": None}, kernel=gaussian_kernel(1.5))
    assert np.array_equal(again.image, result.image)
    assert prepared.config.patch == 0


def test_a_small_image_is_made_larger():
    clean = cat(96)
    small = pixels_of(Downsample(2, "lanczos")(tensor(clean)))
    settings = {"task": "super-resolve", "enlarge": 2, "steps": 150}
    settings["backbone_options"] = {"width": 12, "scales": 2, "final": "residual"}
    prepared, result = restored(small, clean.astype(np.float32) / 255, settings)
    assert result.image.shape == (96, 96, 3)
    bicubic = Image.fromarray(small[..., 1]).resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(prepared.unrestored[..., 1], np.asarray(bicubic), atol=1e-5)
    assert result.scores.psnr > result.scores_before.psnr + 0.3
    assert all(record.psnr is None for record in result.records)  # of no part of the image
    assert len(result.snapshots) > 1
    image = torch.from_numpy(result.image).permute(2, 0, 1)[None].double()
    measured = pixels_of(Downsample(2, "lanczos")(image))
    assert psnr(measured, small, data_range=1.0) > 45


def test_jpeg_is_restored_within_its_intervals():
    clean = cat(96, 1)
    file = io.BytesIO()
    Image.fromarray(clean).save(file, "JPEG", quality=10)
    file.seek(0)
    jpeg = Image.open(file)
    tables = read_tables(jpeg)
    settings = {"task": "dejpeg", "steps": 120}
    prepared, result = restored(np.asarray(jpeg), clean, settings, tables=tables)
    assert result.scores.psnr > result.scores_before.psnr + 0.1
    assert result.image.dtype == np.uint8
    moved = prepared.task._rounding.within(tensor(result.image).float()) - tensor(result.image)
    assert moved.abs().max() < 3 / 255  # but for the result's rounding to 8 bits
    assert prepared.config.a_end == 1.0


def vignette(side):
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return (1 - 0.45 * (x**2 + y**2)).astype(np.float32)


def test_an_uneven_gain_is_undone_and_the_noise_with_it():
    clean, gain = cat().astype(np.float32) / 255, vignette(64)
    noise = np.float32(0.03) * np.random.default_rng(0).standard_normal((64, 64, 3))
    y = (clean * gain[..., None] + noise).astype(np.float32)
    settings = {"task": "degain", "noise": "gaussian:7.65", "steps": 100}
    prepared, result = restored(y, clean, settings, gain=gain)
    divided = psnr(y / gain[..., None], clean, data_range=1.0)
    assert result.scores_before.psnr == pytest.approx(divided, abs=0.3)
    assert result.scores.psnr > divided + 2
    assert prepared.span.gray.shape == (64, 64, 3)


@pytest.mark.parametrize("given", [{"kernel": "gaussian:1"}, {"kernel": gaussian_kernel(1.0)}])
def test_what_is_given_tells_the_task(given):
    settings = SETTINGS | {"steps": 2, "noise": "gaussian:5", "check_noise": False}
    assert restore(cat(), **given, **settings).config.task == "deblur"
    mask = np.zeros((64, 64), bool)
    mask[3:9, 4:20] = True
    assert restore(cat(), mask=mask, **SETTINGS | {"steps": 2}).config.task == "inpaint"
    gain = vignette(64)
    assert restore(cat(), gain=gain, **settings).config.task == "degain"
    result = restore(cat(), operator=lambda x: x.flip(-1), **settings)
    assert result.config.task == "invert"


class Holes:
    """What deepinv's physics look like: missing pixels."""

    def __init__(self, known):
        self.known = known

    def A(self, x):  # noqa: N802
        return x * self.known

    def A_adjoint(self, y):  # noqa: N802
        return y * self.known


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_an_operator_of_one_s_own_is_undone(noise):
    clean = cat().astype(np.float32) / 255
    known = np.random.default_rng(1).random((64, 64)) < 0.6
    draw = noise * np.random.default_rng(0).standard_normal((64, 64, 3))
    y = ((clean + draw) * known[..., None]).astype(np.float32)
    mask = torch.from_numpy(known).float()[None, None]
    settings = {"task": "invert", "noise": f"gaussian:{noise * 255}", "steps": 150}
    prepared, result = restored(y, clean, settings, operator=Holes(mask))
    assert prepared.unrestored.shape == clean.shape
    assert result.scores.psnr > 24 > 15 > result.scores_before.psnr
    _, function = restored(y, clean, settings, operator=lambda x: x * mask)
    assert function.scores.psnr == pytest.approx(result.scores.psnr, abs=0.5)
    if not noise:
        assert np.abs(result.image - y)[known].max() < 0.01


def test_a_measurement_need_not_be_of_the_image_s_shape():
    clean = cat().astype(np.float32).mean(2) / 255

    def shaken(x):
        """Two looks, moved in either direction, of every other line."""
        across, down = (sum(x.roll(k, dim) for k in range(5)) / 5 for dim in (-1, -2))
        return torch.cat([across, down], 1)[..., ::2, :]

    looks = shaken(torch.from_numpy(clean)[None, None])[0].permute(1, 2, 0).numpy()
    y = looks + np.float32(0.01) * np.random.default_rng(0).standard_normal(looks.shape)
    settings = {"task": "invert", "noise": "gaussian:2.55", "steps": 150}
    prepared, result = restored(
        y.astype(np.float32), clean, settings, operator=shaken, image_shape=(64, 64)
    )
    assert y.shape == (32, 64, 2)
    assert result.image.shape == (64, 64)
    assert prepared.channels == 1
    assert result.scores.psnr > result.scores_before.psnr + 1


@pytest.mark.parametrize(
    ("known", "settings", "message"),
    [
        ({}, {}, "no operator to invert"),
        ({"operator": 3}, {}, "a int is no operator"),
        ({"operator": lambda x: 0 * x}, {}, "there is no way back"),
        ({"operator": lambda x: x, "image_shape": (0, 3)}, {}, "image_shape is"),
        ({"operator": lambda x: x, "image_shape": (32, 32)}, {}, "try image_shape"),
        ({"operator": lambda x: x}, {"noise": "auto"}, "cannot be estimated: state it"),
        ({"operator": lambda x: x}, {"task": "denoise"}, "operator is for the task invert"),
        ({"gain": np.ones((9, 9))}, {"task": "degain"}, "does not fit an image of 64x64"),
        ({"gain": -np.ones((64, 64))}, {"task": "degain"}, "none is below 0"),
        ({}, {"task": "degain"}, "there is no gain"),
        ({}, {"task": "inpaint", "supervision": "clean-guides"}, "no pixel is missing"),
        (
            {"operator": lambda x: x},
            {"supervision": "clean-guides", "noise": "none"},
            "clean-guides see the clean image",
        ),
    ],
)
def test_operators_that_cannot_be_undone_say_so(known, settings, message):
    settings = SETTINGS | {"task": "invert", "noise": "none"} | settings
    with pytest.raises(InputError, match=message):
        prepare(cat(), make_config(settings), Known(**known))


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({"task": "invert"}, Known(operator=lambda x: x)),
        ({"task": "super-resolve", "enlarge": 8}, Known()),
    ],
)
def test_images_too_large_for_the_memory_are_refused(settings, known):
    image = np.zeros((300, 300), np.float32)
    usual = SETTINGS | {"noise": "gaussian:5", "check_noise": False}
    with pytest.raises(InputError, match="more than the 520MiB"):
        prepare(image, make_config(usual | settings | {"max_memory": "520MiB"}), known)
    assert prepare(image, make_config(usual | settings | {"max_memory": "9GiB"}), known).plan.steps


def test_noise_that_grows_with_the_light_is_known_at_each_pixel_of_a_blurred_image():
    blur = Blur(gaussian_kernel(1.0))
    clean = tensor(cat())
    photons = 200
    light = pixels_of(blur(clean)).clip(0)
    y = (np.random.default_rng(0).poisson(light * photons) / photons).astype(np.float32)
    settings = {"task": "deblur", "kernel": "gaussian:1", "noise": "poisson:200", "steps": 100}
    prepared, result = restored(y, pixels_of(Deblur(blur).cut(clean)), settings)
    share = prepared.span.local_share(y)
    assert share.shape == y.shape
    bright, dark = (share[light > 0.6].mean(), share[light < 0.3].mean())
    assert bright / dark == pytest.approx(
        math.sqrt(light[light > 0.6].mean() / light[light < 0.3].mean()), rel=0.1
    )
    assert result.scores.psnr > result.scores_before.psnr + 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "deblur"}, "needs the blur's kernel"),
        ({"task": "inpaint"}, "no pixel is missing: give a mask"),
        ({"kernel": "gaussian:2"}, "try task=deblur"),
        ({"enlarge": 2}, "try task=super-resolve"),
        ({"task": "dejpeg"}, "no quantisation tables"),
        ({"task": "sharpen"}, "task cannot be 'sharpen'"),
        ({"task": "super-resolve", "enlarge": 9}, "enlarge cannot be 9"),
        ({"task": "deblur", "kernel": "gaussian:x"}, "is no kernel"),
    ],
)
def test_tasks_that_lack_what_they_need_say_so(settings, message):
    with pytest.raises(InputError, match=message):
        prepare(cat(), make_config(SETTINGS | settings))


@pytest.mark.parametrize("task", ["super-resolve", "deblur"])
def test_tasks_are_for_whole_images_in_their_own_size(task):
    settings = SETTINGS | {"task": task} | ({"kernel": "gaussian:2"} if task == "deblur" else {})
    mask = np.zeros((64, 64), bool)
    mask[3, 4] = True
    with pytest.raises(InputError, match="without missing pixels: fill them in before"):
        prepare(cat(), make_config(settings), Known(mask=mask))
    with pytest.raises(InputError, match="resize is for the task denoise"):
        prepare(cat(), make_config(settings | {"resize": 32}))


def test_a_clean_image_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"\(64, 64, 3\) is not the image's \(128, 128, 3\)"):
        prepare(cat(), make_config(SETTINGS | {"task": "super-resolve"}), clean=cat())
