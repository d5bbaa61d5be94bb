"""The methods of the benchmark: selection, classical filters, Zero-Shot Noise2Noise."""

import sys
import types

import numpy as np
import pytest
import torch

from guided_dip.config import make_config
from guided_dip.errors import InputError
from guided_dip.experiments import methods
from guided_dip.experiments.deepinv_dip import deepinv_dip
from guided_dip.experiments.methods import DEFAULT, METHODS, nlm, select_methods, tv, wavelet
from guided_dip.experiments.zsn2n import downsampled, zs_n2n
from guided_dip.metrics import psnr
from guided_dip.noise import add_gaussian_noise

SIGMA = 25 / 255
FILTERS = [nlm, tv, wavelet]


def smooth(colour=False, side=32):
    ramp = np.linspace(0.2, 0.8, side)
    gray = np.add.outer(ramp, ramp) / 2
    return np.dstack([gray, gray[::-1], gray.T]) if colour else gray


def noisy(clean, sigma=SIGMA):
    return add_gaussian_noise(clean, sigma, 0).astype(np.float32)


def test_the_table_is_sound():
    assert all(name == method.name for name, method in METHODS.items())
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    for method in METHODS.values():
        assert (method.settings is None) or (method.function is None)
        assert method.oracle is ("saw the clean image" in method.saw)
        if method.settings is not None:
            assert make_config(method.settings).oracle is method.oracle
    assert {name for name, method in METHODS.items() if method.oracle} == {
        "dip-peak",
        "clean-guides",
    }


def test_the_default_methods(monkeypatch):
    monkeypatch.setattr(methods, "is_installed", lambda package: False)
    assert {method.name for method in select_methods([])} == set(DEFAULT)
    monkeypatch.setattr(methods, "is_installed", lambda package: True)
    assert {method.name for method in select_methods([])} == {*DEFAULT, "bm3d"}


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(InputError, match="unknown method 'wavelets': did you mean 'wavelet'"):
        select_methods(["wavelets"])


@pytest.mark.parametrize("name", ["bm3d", "deepinv-dip"])
def test_what_is_not_installed_is_refused(monkeypatch, name):
    monkeypatch.setattr(methods, "is_installed", lambda package: False)
    with pytest.raises(InputError, match=rf"{name}: the package .* is not installed; try") as error:
        select_methods(["tv", name])
    assert "\n" not in str(error.value)


def test_packages_are_looked_for_by_name(monkeypatch):
    assert methods.is_installed("numpy")
    assert not methods.is_installed("no_such_package")
    monkeypatch.setattr(methods, "is_installed", lambda package: package != "bm3d")
    with pytest.raises(InputError, match="not installed"):
        methods.bm3d(smooth(), SIGMA)


def test_bm3d_is_called_by_the_number_of_colours(monkeypatch):
    package = types.ModuleType("bm3d")
    package.bm3d = lambda y, sigma: y[..., None] * 0 + sigma
    package.bm3d_rgb = lambda y, sigma: y * 0 + 2 * sigma
    monkeypatch.setitem(sys.modules, "bm3d", package)
    monkeypatch.setattr(methods, "is_installed", lambda package: True)
    assert methods.bm3d(smooth(), SIGMA).shape == (32, 32)
    assert np.allclose(methods.bm3d(smooth(True), SIGMA), 2 * SIGMA)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("function", FILTERS)
def test_filters_denoise_and_leave_their_input_alone(function, colour):
    clean = smooth(colour)
    y = noisy(clean)
    before = y.copy()
    restored = function(y, SIGMA)
    assert restored.shape == y.shape
    assert np.array_equal(y, before)
    assert psnr(restored, clean, data_range=1.0) > psnr(y, clean, data_range=1.0) + 5


@pytest.mark.parametrize("function", FILTERS)
def test_no_noise_gives_the_picture_back(function):
    y = noisy(smooth())
    assert np.array_equal(function(y, 0.0), y)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("sigma", [2 / 255, 25 / 255, 60 / 255])
def test_the_residual_of_total_variation_has_the_noise_level(colour, sigma):
    # A picture with detail, so that weak noise is not all there is.
    clean = smooth(colour) + 0.2 * (np.indices((32, 32)).sum(0) % 8 < 4)[(..., None)[: 1 + colour]]
    y = noisy(clean, sigma)
    assert np.std(y - tv(y, sigma)) == pytest.approx(sigma, rel=2e-3)


def test_total_variation_of_less_noise_than_told_ends():
    y = noisy(np.full((16, 16), 0.5), 1 / 255)
    restored = tv(y, 0.2)
    assert np.std(restored) < 1 / 255
    assert restored.mean() == pytest.approx(0.5, abs=1e-2)


def test_the_pair_downsampler_by_hand():
    y = torch.tensor([[1.0, 2, 5, 6, 0], [3, 4, 7, 8, 0], [0, 0, 0, 0, 0]])[None, None]
    first, second = downsampled(torch.cat([y, 10 * y], dim=1))
    assert first.tolist() == [[[[2.5, 6.5]], [[25.0, 65.0]]]]  # (2 + 3) / 2, (6 + 7) / 2
    assert second.tolist() == [[[[2.5, 6.5]], [[25.0, 65.0]]]]  # (1 + 4) / 2, (5 + 8) / 2
    corners = torch.tensor([[1.0, 0], [0, 0]])[None, None]
    assert [d.item() for d in downsampled(corners)] == [0.0, 0.5]


@pytest.mark.parametrize("colour", [False, True])
def test_zs_n2n_denoises_a_smooth_picture(colour):
    clean = smooth(colour, 24)
    y = noisy(clean)
    before, state = y.copy(), torch.get_rng_state()
    restored = zs_n2n(y, seed=0, epochs=150)
    assert np.array_equal(y, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert (restored.shape, restored.dtype) == (y.shape, np.float32)
    assert 0 <= restored.min() <= restored.max() <= 1
    assert psnr(restored, clean, data_range=1.0) > psnr(y, clean, data_range=1.0) + 4


def test_zs_n2n_repeats_by_its_seed():
    y = noisy(smooth(side=17))
    same = [zs_n2n(y, seed=seed, epochs=3) for seed in (0, 0, 1)]
    assert np.array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])
    with pytest.raises(InputError, match="2x2 pixels"):
        zs_n2n(y[:1], seed=0)


def test_deepinvs_dip_denoises_by_its_seed():
    pytest.importorskip("deepinv", exc_type=ImportError)
    y = noisy(smooth(True))
    runs = [deepinv_dip(y, seed=seed, iterations=150, channels=16) for seed in (0, 0, 1)]
    assert (runs[0].shape, runs[0].dtype) == (y.shape, np.float32)
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    clean = smooth(True)
    assert psnr(runs[0], clean, data_range=1.0) > psnr(y, clean, data_range=1.0) + 3


class _Prior:
    """Stands in for deepinv's: random as its networks are, and picky about shapes."""

    def __init__(self, decoder, *, img_size, iterations):
        self.decoder, self.drawn, self.iterations = decoder, torch.rand(()), iterations
        assert img_size == (8, 4, 4)

    def __call__(self, y, physics):
        assert physics == "denoising"
        assert y.shape == (1, *self.decoder.size)
        return y + self.drawn * self.iterations


class _Decoder(torch.nn.Module):
    def __init__(self, size, *, in_size, layers, channels):
        super().__init__()
        self.size = size
        assert (in_size, layers, channels) == ((4, 4), 7, 8)


@pytest.mark.parametrize("colour", [False, True])
def test_deepinv_is_called_with_a_tensor_and_leaves_the_global_seed_alone(monkeypatch, colour):
    package = types.ModuleType("deepinv")
    package.models = types.SimpleNamespace(ConvDecoder=_Decoder, DeepImagePrior=_Prior)
    package.physics = types.SimpleNamespace(Denoising=lambda: "denoising")
    monkeypatch.setitem(sys.modules, "deepinv", package)
    y, state = smooth(colour).astype(np.float32), torch.get_rng_state()
    first, again, other = (
        deepinv_dip(y, seed=seed, iterations=2, channels=8) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == y.shape
    assert np.array_equal(first, again)
    assert np.ptp(first - y) < 1e-6 < abs(float((first - other).mean()))
