"""Guided-DIP as a reconstructor: of any object that looks like deepinv's physics, and of these."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage import data

from guided_dip.errors import InputError
from guided_dip.metrics import psnr
from guided_dip.reconstructor import GuidedDIPReconstructor
from guided_dip.restoration import restore

SETTINGS = {"backbone_options": {"width": 12, "scales": 3}, "threads": 1, "effort": "fast"}


def cats(side=48):
    pixels = data.chelsea()[20 : 20 + 2 * side : 2, 100 : 100 + 2 * side : 2] / 255
    one = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    return torch.cat([one, one.flip(-1)])


def quality(images, clean):
    pairs = zip(images.numpy(), clean.numpy(), strict=True)
    return np.mean([psnr(x, y, data_range=1.0) for x, y in pairs])


def test_what_is_kept_of_a_batch_is_known_and_the_rest_filled_in():
    clean = cats()
    known = (torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0)) < 0.6).float()
    physics = SimpleNamespace(A=lambda x: x * known, A_adjoint=lambda y: y * known)
    y = clean * known
    model = GuidedDIPReconstructor(noise="none", steps=100, restarts=1, **SETTINGS)
    images = model(y, physics)
    assert images.shape == clean.shape
    torch.testing.assert_close(images * known, y, atol=1e-6, rtol=0)
    assert quality(images, clean) > quality(y, clean) + 10
    again = model(y.double(), physics, more="of no account")
    alone = restore(
        y[0].permute(1, 2, 0).numpy(), mask=known[0, 0].numpy() == 0, **{"steps": 100, **SETTINGS}
    )
    torch.testing.assert_close(images[0], torch.from_numpy(alone.image).permute(2, 0, 1))
    assert again.dtype == torch.float64
    torch.testing.assert_close(again.float(), images)


@pytest.mark.parametrize("name", ["sigma", "gain"])
def test_the_noise_is_the_physics_own(name):
    clean = cats()[:1]
    generator = torch.Generator().manual_seed(0)
    if name == "sigma":
        y = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    else:
        y = torch.poisson(clean / 0.02, generator=generator) * 0.02
    model = SimpleNamespace(**{name: torch.tensor(0.1 if name == "sigma" else 0.02)})
    physics = SimpleNamespace(A=lambda x: x, A_adjoint=lambda y: y, noise_model=model)
    images = GuidedDIPReconstructor(steps=100, restarts=1, **SETTINGS)(y, physics)
    assert quality(images, clean) > quality(y, clean) + 4


def test_other_operators_are_inverted():
    clean = cats()[:1]

    def blurred(x):
        return sum(x.roll(k, -1) for k in range(5)) / 5

    y = blurred(clean)
    model = GuidedDIPReconstructor(noise="gaussian:1", steps=100, restarts=1, **SETTINGS)
    images = model(y, SimpleNamespace(A=blurred))
    assert quality(images, clean) > quality(y, clean) + 2


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.zeros(3, 8, 8), r"measurements are real and \(B, C, H, W\)"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.complex64), "measurements are real"),
        (torch.rand(1, 1, 8, 8), "does not say what noise"),
    ],
)
def test_what_cannot_be_restored_is_refused(y, message):
    physics = SimpleNamespace(A=lambda x: x)
    with pytest.raises(InputError, match=message):
        GuidedDIPReconstructor(**SETTINGS)(y, physics)


def test_settings_are_checked_at_once():
    with pytest.raises(InputError, match="unknown setting 'colour'"):
        GuidedDIPReconstructor(colour=1)


def deepinv_cases():
    """Return deepinv's physics by name, each a function of the image's size."""
    kernel = torch.ones(1, 1, 1, 7) / 7
    return {
        "Inpainting": lambda d, size: d.physics.Inpainting(size, mask=0.6),
        "Denoising": lambda d, _: d.physics.Denoising(),
        "BlurFFT": lambda d, size: d.physics.BlurFFT(size, filter=kernel),
        "Downsampling": lambda d, size: d.physics.Downsampling(size, filter="bicubic", factor=2),
    }


@pytest.mark.parametrize("name", ["Inpainting", "Denoising", "BlurFFT", "Downsampling"])
def test_deepinvs_physics_work_as_they_are(name):
    deepinv = pytest.importorskip("deepinv", exc_type=ImportError)
    clean = cats()[:1]
    torch.manual_seed(0)
    physics = deepinv_cases()[name](deepinv, tuple(clean.shape[1:]))
    physics.noise_model = deepinv.physics.GaussianNoise(0.03)
    y = physics(clean)
    before = physics.A_dagger(y)
    images = GuidedDIPReconstructor(steps=150, restarts=1, **SETTINGS)(y, physics)
    assert images.shape == clean.shape
    assert quality(images, clean) > quality(before, clean) + 1
