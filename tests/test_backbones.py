"""The backbones: golden sizes, any picture size, reproducible gradients, clear refusals."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from guided_dip.backbones import (
    BACKBONES,
    Backbone,
    DeepDecoder,
    NormFree,
    PadAndCrop,
    SegNet,
    Skip,
    UNet,
    blocks,
    build,
    find,
    network_input,
    reset_batchnorm,
)
from guided_dip.backbones.segnet import ExactForward, gather, pool, scatter, unpool
from guided_dip.backbones.several import join
from guided_dip.errors import InputError

# Narrow and shallow variants, one of each kind and one of each option that changes the path.
NARROW: dict[str, tuple[str, dict[str, object]]] = {
    "unet": ("unet", {"widths": (4, 6, 8), "skip_channels": 2, "skip_levels": (1, 2)}),
    "unet-no-skip": ("unet", {"widths": (4, 6), "skip_levels": ()}),
    "segnet": ("segnet", {"widths": (3, 4, 5)}),
    "normfree": ("normfree", {"width": 6, "scales": 2}),
    "normfree-sigmoid": ("normfree", {"width": 6, "scales": 2, "final": "sigmoid"}),
    "normfree-linear": ("normfree", {"width": 4, "scales": 1, "final": "linear"}),
    "normfree-residual": ("normfree", {"width": 4, "scales": 3, "final": "residual"}),
    "skip": ("skip", {"width": 6, "scales": 3, "skip_channels": 2}),
    "skip-no-skip": ("skip", {"width": 4, "scales": 2, "skip_channels": 0}),
    "skip-plain": ("skip", {"width": 4, "scales": 2, "norm": "none", "final": "linear"}),
    "deep-decoder": ("deep-decoder", {"width": 6, "scales": 3}),
}
narrow = pytest.mark.parametrize("variant", NARROW)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(variant: str, channels: int = 3, in_channels: int | None = None) -> PadAndCrop:
    name, options = NARROW[variant]
    torch.manual_seed(0)
    return build(name, channels, in_channels=in_channels, options=options)


def draw(variant: str, size: tuple[int, int], channels: int = 3) -> Tensor:
    return network_input(find(NARROW[variant][0]), channels, size, seeded())


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def step(network: nn.Module, z: Tensor) -> list[Tensor]:
    """The output and every parameter's gradient."""
    out = network(z)
    loss = F.mse_loss(out, torch.full_like(out, 0.3))
    return [out.detach(), *torch.autograd.grad(loss, list(network.parameters()))]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks this narrow only lose time to several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


# --- sizes of the networks ---------------------------------------------------------------------


def conv(entry: int, width: int, kernel: int) -> int:
    return entry * width * kernel**2 + width


def test_unet_has_the_reports_number_of_parameters() -> None:
    assert count(UNet()) == 1_786_545
    weights = 25 * (3 * 8 + 8 * 16 + 16 * 32 + 32 * 64 + 64 * 128 + 128 * 256)
    weights += 25 * 4 * (32 + 64 + 128)
    weights += 16 * (256 * 124 + 128 * 60 + 64 * 28 + 32 * 16 + 16 * 8 + 8 * 3)
    biases = (8 + 16 + 32 + 64 + 128 + 256) + 3 * 4 + (124 + 60 + 28 + 16 + 8 + 3)
    norms = 2 * (8 + 16 + 32 + 64 + 128 + 256) + 2 * (128 + 64 + 32 + 16 + 8 + 3)
    assert (weights, biases, norms) == (1_784_280, 755, 1_510)
    assert count(UNet()) == weights + biases + norms


def test_segnet_has_the_reports_number_of_parameters() -> None:
    with torch.device("meta"):
        assert count(SegNet()) == 29_444_739
    encoder = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    widths = encoder + encoder[:0:-1][1:]
    expected = sum(conv(a, b, 3) + 2 * b for a, b in pairwise(widths))
    assert expected + conv(64, 3, 3) == 29_444_739


@pytest.mark.parametrize(
    ("width", "scales", "skip_channels", "in_channels"), [(128, 5, 4, 32), (64, 4, 32, 3)]
)
def test_skip_has_the_number_of_parameters_its_description_gives(
    width: int, scales: int, skip_channels: int, in_channels: int
) -> None:
    entries = [in_channels] + [width] * (scales - 1)
    joined = skip_channels + width
    expected = conv(width, 3, 1)
    for entry in entries:
        expected += conv(entry, width, 3) + conv(width, width, 3) + 4 * width
        expected += conv(entry, skip_channels, 1) + 2 * skip_channels
        expected += 2 * joined + conv(joined, width, 3) + conv(width, width, 1) + 4 * width
    network = Skip(width=width, scales=scales, skip_channels=skip_channels, in_channels=in_channels)
    assert count(network) == expected


def test_default_skip_has_the_papers_number_of_parameters() -> None:
    assert count(Skip()) == 2_217_831


def test_default_deep_decoder_has_the_papers_number_of_parameters() -> None:
    mixtures, norms, head = 6 * 128 * 128, 6 * 2 * 128, 128 * 3
    assert count(DeepDecoder()) == mixtures + norms + head == 100_224


def test_the_deep_decoder_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    network = DeepDecoder(2, in_channels=4, width=5, scales=2)
    z = torch.rand(1, 4, 8, 12)
    x = z[:, :, ::4, ::4]
    for number, size in enumerate([(4, 6), (8, 12), (8, 12)]):
        weight = network.mix[number].weight
        assert isinstance(weight, Tensor)
        x = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x)
        if x.shape[2:] != size:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        x = x.relu()
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt()
    expected = torch.einsum("oi,bihw->bohw", network.head.weight[:, :, 0, 0], x).sigmoid()
    torch.testing.assert_close(network(z), expected)


def test_the_deep_decoder_sees_one_pixel_of_each_square() -> None:
    torch.manual_seed(0)
    network = DeepDecoder(in_channels=3, width=4, scales=2)
    z = torch.rand(1, 3, 8, 8)
    seen, unseen = z.clone(), z.clone()
    seen[..., 4, 4] += 1
    unseen[..., 5, 5] += 1
    assert torch.equal(network(unseen), network(z))
    assert not torch.equal(network(seen), network(z))


def test_the_networks_and_their_wrapper_know_the_sizes_they_take() -> None:
    assert (UNet().multiple, UNet().minimum) == (64, 128)
    assert (Skip().multiple, Skip().minimum) == (32, 64)
    wrapped = build("segnet", 3)
    assert (wrapped.multiple, wrapped.minimum) == (32, 32)
    assert wrapped.margins(64) == (0, 0)
    assert wrapped.margins(65) == (15, 16)
    assert wrapped.margins(1) == (15, 16)


@pytest.mark.parametrize("name", BACKBONES)
def test_full_width_networks_run_and_their_gradients_are_finite(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 3)
    out, *grads = step(network, network_input(BACKBONES[name], 3, (20, 33), seeded()))
    assert out.shape == (1, 3, 20, 33)
    assert all(g.isfinite().all() for g in grads)


# --- any picture -------------------------------------------------------------------------------


@narrow
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (16, 16), (33, 20)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_and_number_of_channels(
    variant: str, size: tuple[int, int], channels: int
) -> None:
    network = make(variant, channels)
    out, *grads = step(network, draw(variant, size, channels))
    assert out.shape == (1, channels, *size)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert all(g.isfinite().all() for g in grads)


@settings(max_examples=40, deadline=None)
@given(
    variant=st.sampled_from(sorted(NARROW)),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    batch=st.integers(1, 2),
    training=st.booleans(),
)
def test_every_size_comes_back(
    variant: str, height: int, width: int, batch: int, training: bool
) -> None:
    network = make(variant, in_channels=3).train(training)
    z = torch.randn(batch, 3, height, width, generator=seeded())
    before = z.clone()
    out = network(z)
    assert out.shape == z.shape
    assert out.isfinite().all()
    assert torch.equal(z, before), "the input was modified"


@narrow
def test_outputs_lie_in_the_promised_range(variant: str) -> None:
    out = make(variant)(draw(variant, (32, 32)) * 100)
    if variant in ("segnet", "skip-plain", "normfree", "normfree-linear", "normfree-residual"):
        assert out.min() < 0
    else:
        assert 0 <= out.min() < out.max() <= 1


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 20), before=st.integers(0, 50), after=st.integers(0, 50))
def test_padding_is_numpys_reflection(n: int, before: int, after: int) -> None:
    x = torch.randn(2, n, 3, generator=seeded())
    expected = np_reflect(x, before, after)
    assert torch.equal(blocks.extend(x, 1, before, after), expected)
    assert blocks.extend(x, 1, 0, 0) is x


def np_reflect(x: Tensor, before: int, after: int) -> Tensor:
    return torch.from_numpy(np.pad(x.numpy(), ((0, 0), (before, after), (0, 0)), mode="reflect"))


def test_a_size_that_fits_is_passed_straight_on() -> None:
    seen = []

    class Probe(nn.Module):
        multiple, minimum = 4, 8

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    network = PadAndCrop(Probe(), 3)
    x = torch.randn(1, 3, 8, 12)
    assert network(x) is x
    assert seen.pop() is x
    x = torch.randn(1, 3, 9, 3)
    assert torch.equal(network(x), x)
    assert seen.pop().shape == (1, 3, 12, 8)


def test_bare_networks_say_which_sizes_they_take() -> None:
    for network in (UNet(), Skip(in_channels=3), SegNet(widths=(2, 2, 2, 2, 2)), NormFree(width=4)):
        for shape in [(1, 3, 128, 100), (1, 4, 128, 128), (3, 128, 128), (1, 3, 0, 128)]:
            with pytest.raises(InputError, match=r"the network takes \(B, 3, H, W\).*PadAndCrop"):
                network(torch.zeros(shape))
    with pytest.raises(InputError, match="at least 128"):
        UNet()(torch.zeros(1, 3, 64, 128))


# --- pooling -----------------------------------------------------------------------------------

layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def torchs_own(x: Tensor) -> tuple[Tensor, Tensor]:
    pooled, where = F.max_pool2d(x, 2, return_indices=True)
    return pooled, F.max_unpool2d(pooled * 2, where, [2, 2])


def ours(x: Tensor) -> tuple[Tensor, Tensor]:
    pooled, code = pool(x)
    return pooled, unpool(pooled * 2, code)


@layouts
@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 8, 6), (1, 4, 2, 10), (1, 1, 6, 4)])
@pytest.mark.parametrize("levels", [2, 4, 1000], ids=lambda n: f"{n} levels")
def test_pooling_is_torchs_own_ties_included(
    shape: tuple[int, ...], levels: int, layout: torch.memory_format
) -> None:
    x = torch.randint(0, levels, shape, generator=seeded()).float().contiguous(memory_format=layout)
    results = []
    for function in (torchs_own, ours):
        leaf = x.clone().requires_grad_()
        pooled, unpooled = function(leaf)
        weights = torch.randn(unpooled.shape, generator=seeded(1))
        total = (unpooled * weights).sum() + pooled.square().sum()
        results.append((pooled, unpooled, *torch.autograd.grad(total, leaf)))
    for theirs, mine in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert torch.equal(results[0][1], results[1][1])


@layouts
def test_pooling_keeps_the_memory_layout(layout: torch.memory_format) -> None:
    x = torch.randn(1, 8, 6, 6).contiguous(memory_format=layout).requires_grad_()
    pooled, code = pool(x)
    unpooled = unpool(pooled, code)
    (grad,) = torch.autograd.grad(unpooled, x, torch.ones_like(unpooled))
    for tensor in (pooled, code, unpooled, grad):
        assert tensor.is_contiguous(memory_format=layout)


def test_gradients_of_pooling_agree_with_finite_differences() -> None:
    # A permutation: no two pixels are closer than 1, so there are no ties.
    x = torch.randperm(2 * 3 * 4 * 6, generator=seeded()).double().reshape(2, 3, 4, 6)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool(x)[0], (x,))
    assert torch.autograd.gradcheck(lambda x: ours(x)[1], (x,))
    code = torch.randint(0, 4, (2, 3, 4, 6), generator=seeded(), dtype=torch.uint8)
    assert torch.autograd.gradcheck(lambda v: unpool(v, code), (x,))


def test_gather_is_the_adjoint_of_scatter() -> None:
    code = torch.randint(0, 4, (2, 3, 4, 5), generator=seeded(), dtype=torch.uint8)
    v = torch.randn(2, 3, 4, 5, generator=seeded(1), dtype=torch.float64)
    x = torch.randn(2, 3, 8, 10, generator=seeded(2), dtype=torch.float64)
    torch.testing.assert_close((scatter(v, code) * x).sum(), (v * gather(x, code)).sum())
    assert torch.equal(gather(scatter(v, code), code), v)


# --- resampling --------------------------------------------------------------------------------


@layouts
@pytest.mark.parametrize("size", [(2, 2), (5, 3)])
def test_resampling_by_slices_is_torchs_own(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, *size, generator=seeded(), dtype=torch.float64)
    x = x.contiguous(memory_format=layout).requires_grad_()
    pairs = [
        (blocks.reflect, blocks.reflect_by_slices),
        (blocks.upsample, blocks.upsample_by_slices),
    ]
    for own, slices in pairs:
        torch.testing.assert_close(slices(x), own(x))
        weights = torch.randn(own(x).shape, generator=seeded(1), dtype=torch.float64)
        (theirs,) = torch.autograd.grad(own(x), x, weights)
        (mine,) = torch.autograd.grad(slices(x), x, weights)
        torch.testing.assert_close(mine, theirs)
    one = torch.randn(1, 1, 1, 1)
    assert torch.equal(blocks.upsample_by_slices(one), one.expand(1, 1, 2, 2))


def test_torchs_own_resampling_is_left_alone_only_where_it_is_reproducible(
    deterministic: None,
) -> None:
    assert blocks.native(torch.zeros(1))
    assert not blocks.native(torch.zeros(1, device="meta"))
    torch.use_deterministic_algorithms(False)
    assert blocks.native(torch.zeros(1, device="meta"))


def test_skip_is_the_same_network_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    network, z = make("skip").double(), draw("skip", (32, 32)).double()
    own = step(network, z)
    monkeypatch.setattr(blocks, "native", lambda x: False)
    for mine, theirs in zip(step(network, z), own, strict=True):
        torch.testing.assert_close(mine, theirs)


# --- state, modes, repeatability ---------------------------------------------------------------


@narrow
def test_state_round_trip_gives_the_same_bytes(variant: str) -> None:
    network, z = make(variant), draw(variant, (21, 16))
    step(network, z)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    name, options = NARROW[variant]
    torch.manual_seed(1)
    other = build(name, 3, options=options)
    assert not torch.equal(other.eval()(z), network.eval()(z))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(z), network.eval()(z))
    bare = {f"network.{key}" for key in network.network.state_dict()}
    assert set(network.state_dict()) == bare


@narrow
def test_runs_repeat_to_the_byte(variant: str, deterministic: None) -> None:
    z = draw(variant, (19, 32))
    first, second = (step(make(variant), z) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("variant", ["unet", "segnet", "skip"])
def test_training_and_evaluation_differ_and_batchnorm_can_be_reset(variant: str) -> None:
    network, z = make(variant), draw(variant, (32, 32))
    fresh = network.eval()(z)
    trained = network.train()(z)
    assert not torch.equal(trained, fresh)
    assert not torch.equal(network.eval()(z), fresh)
    reset_batchnorm(network)
    assert torch.equal(network.eval()(z), fresh)


def test_a_network_without_norm_layers_is_the_same_in_both_modes() -> None:
    network, z = make("skip-plain"), draw("skip-plain", (16, 16))
    assert torch.equal(network.train()(z), network.eval()(z))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_segnets_batchnorm_follows_fast() -> None:
    layers = [m for m in SegNet(widths=(2, 2)).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {layer.momentum for layer in layers} == {0.5}
    assert len(layers) == 7


def test_a_residual_network_adds_its_input() -> None:
    options = {"width": 4, "scales": 1, "final": "linear", "residual": True}
    network = build("skip", 3, in_channels=3, options=options)
    skip = network.network
    assert isinstance(skip, Skip)
    nn.init.zeros_(skip.head.weight)
    assert skip.head.bias is not None
    nn.init.constant_(skip.head.bias, 0.25)
    x = torch.rand(1, 3, 9, 10)
    torch.testing.assert_close(network(x), x + 0.25)


@layouts
@pytest.mark.parametrize("variant", ["normfree", "unet", "segnet", "skip"])
def test_the_memory_layout_does_not_change_the_result(
    variant: str, layout: torch.memory_format
) -> None:
    network, z = make(variant).double(), draw(variant, (32, 16)).double()
    expected = step(network, z)
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    for mine, theirs in zip(
        step(network, z.contiguous(memory_format=layout)), expected, strict=True
    ):
        torch.testing.assert_close(mine, theirs)


# --- the network's input -----------------------------------------------------------------------


def test_the_table_draws_the_reports_inputs_and_the_papers() -> None:
    z = network_input(BACKBONES["unet"], 4, (60, 50), seeded())
    assert z.shape == (1, 4, 60, 50)
    assert z.dtype == torch.float32
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05
    z = network_input(BACKBONES["skip"], 3, (60, 50), seeded())
    assert z.shape == (1, 32, 60, 50)
    assert 0 <= z.min() < 0.001
    assert 0.099 < z.max() <= 0.1
    z = network_input(BACKBONES["deep-decoder"], 1, (60, 50), seeded())
    assert z.shape == (1, 128, 60, 50)
    assert 0 <= z.min() < 0.001
    assert 0.099 < z.max() <= 0.1
    assert {name: row.jitter for name, row in BACKBONES.items()} == {
        "normfree": 0,
        "unet": 0,
        "segnet": 0,
        "skip": 1 / 30,
        "deep-decoder": 0,
    }


def test_the_input_depends_on_the_generator_alone() -> None:
    row = replace(BACKBONES["segnet"], z_channels=5, z_scale=2.0)
    first = network_input(row, 3, (4, 6), seeded(7))
    torch.manual_seed(123)
    assert torch.equal(network_input(row, 3, (4, 6), seeded(7)), first)
    assert first.shape == (1, 5, 4, 6)
    assert not torch.equal(network_input(row, 3, (4, 6), seeded(8)), first)


def test_weights_come_from_the_callers_generator() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = build("skip", 1, options=NARROW["skip"][1]).state_dict()
        torch.manual_seed(3)
        second = build("skip", 1, options=NARROW["skip"][1]).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


# --- a user's own network, and refusals --------------------------------------------------------

OWN = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, channels, width=2):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
    def forward(self, x):
        return self.conv(x)

class Halving(nn.Module):
    multiple = 4
    def __init__(self, channels, *, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 4, stride=4)
    def forward(self, x):
        assert x.shape[-1] % 4 == 0 and x.shape[-2] % 4 == 0
        return nn.functional.interpolate(self.conv(x), scale_factor=4)

class Greedy(Plain):
    def __init__(self, channels, **options):
        super().__init__(channels)
        self.options = options

class Shrinking(Plain):
    def forward(self, x):
        return self.conv(x)[..., 1:]

class Chatty(Plain):
    def forward(self, x):
        return [self.conv(x)]

class Broken(Plain):
    multiple = "four"

def failing(channels):
    raise RuntimeError("no luck\\nat all")

def nothing(channels):
    return None

NUMBER = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(OWN)
    (tmp_path / "own_empty.py").write_text("value = 1\n")
    (tmp_path / "own_bad.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own")
def test_a_users_own_network() -> None:
    network = build("own_networks:Plain", 4, options={"width": 3})
    assert network(torch.rand(1, 4, 5, 7)).shape == (1, 4, 5, 7)
    assert network.multiple == network.minimum == 1
    network = build("own_networks:Halving", 3, in_channels=6)
    assert network(torch.rand(2, 6, 5, 7)).shape == (2, 3, 5, 7)
    greedy = build("own_networks:Greedy", 3, in_channels=5, options={"depth": 2}).network
    assert greedy.options == {"in_channels": 5, "depth": 2}
    row = find("own_networks:Plain")
    assert row == Backbone(row.constructor)
    assert network_input(row, 3, (5, 7), seeded()).shape == (1, 3, 5, 7)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sgnet", {}, "unknown backbone 'sgnet': did you mean 'segnet'?"),
        ("zzz", {}, "one of: normfree, unet, segnet, skip"),
        ("own_netwrks:Plain", {}, "cannot import 'own_netwrks'"),
        ("own_bad:Plain", {}, "No module named 'nowhere_to_be_found'; is its folder on PYTHONPATH"),
        (":Plain", {}, "cannot import ''"),
        ("own_networks:Plane", {}, "'Plane' of backbone 'own_networks:Plane' does not exist: did"),
        ("own_networks:", {}, "'' of backbone 'own_networks:' does not exist: one of: Plain"),
        ("own_empty:Net", {}, "'own_empty' defines no function or class"),
        ("own_networks:NUMBER", {}, "'NUMBER' of backbone 'own_networks:NUMBER' is not callable"),
        ("own_networks:failing", {}, "cannot be built: RuntimeError: no luck"),
        ("own_networks:nothing", {}, "must give a torch.nn.Module, not a NoneType"),
        ("own_networks:Broken", {}, "its attribute 'multiple' must be a whole number"),
        ("own_networks:Plain", {"wdth": 3}, "no option 'wdth': did you mean 'width'?"),
        ("own_networks:nothing", {"wdth": 3}, "no option 'wdth': it has none"),
        ("own_networks:Greedy", {"channels": 3}, "cannot be built: TypeError"),
        ("unet", {"width": 3}, "backbone 'unet': no option 'width': did you mean 'widths'?"),
        ("unet", {"in_channels": 3}, "no option 'in_channels'"),
        ("unet", {"widths": 3}, "widths must be a list of whole numbers, not 3"),
        ("unet", {"widths": "abc"}, "widths must be a list of whole numbers, not 'abc'"),
        ("unet", {"widths": [8, 0]}, "each of widths must be a whole number of at least 1, not 0"),
        ("unet", {"widths": []}, "widths must not be empty"),
        ("unet", {"widths": [8, 8]}, "skip_levels must lie between 1 and 1 when there are 2"),
        ("unet", {"skip_channels": 64}, "of each of skip_levels (32, 64, 128)"),
        ("segnet", {"widths": [True]}, "not True"),
        ("segnet", {"widths": []}, "widths must not be empty"),
        ("skip", {"width": 1.5}, "backbone 'skip': width must be a whole number"),
        ("skip", {"scales": 0}, "scales must be a whole number of at least 1, not 0"),
        ("skip", {"skip_channels": -1}, "skip_channels must be a whole number of at least 0"),
        ("skip", {"norm": "bach"}, "norm cannot be 'bach': did you mean 'batch'?"),
        ("skip", {"final": None}, "final cannot be None: one of: sigmoid, linear"),
        ("skip", {"residual": "yes"}, "residual cannot be 'yes'"),
        ("skip", {"residual": True}, "residual=True needs final='linear' and in_channels equal"),
    ],
)
def test_refusals_are_one_line_that_says_what(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        build(name, 3, options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.usefixtures("own")
def test_channels_are_checked_too() -> None:
    with pytest.raises(InputError, match="channels must be a whole number of at least 1, not 0"):
        build("unet", 0)
    with pytest.raises(InputError, match="in_channels must be a whole number of at least 1, not 0"):
        build("segnet", 3, in_channels=0)
    with pytest.raises(InputError, match=r"as many channels as the image \(3\), not 5"):
        build("own_networks:Plain", 3, in_channels=5)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "given"), [("Shrinking", r"\(1, 3, 5, 6\)"), ("Chatty", "a list")]
)
def test_a_wrong_output_is_refused_when_first_run(name: str, given: str) -> None:
    network = build(f"own_networks:{name}", 3)
    with pytest.raises(InputError, match=rf"image of shape \(1, 3, 5, 7\), not {given}") as caught:
        network(torch.rand(1, 3, 5, 7))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("channels", "width", "scales"), [(3, 48, 4), (1, 5, 2), (4, 8, 1)])
def test_normfree_has_the_number_of_parameters_its_description_gives(
    channels: int, width: int, scales: int
) -> None:
    def conv(entry: int) -> int:
        return entry * width * 9 + width

    expected = conv(channels) + scales * 4 * conv(width)
    expected += width * channels + channels
    assert count(NormFree(channels, in_channels=channels, width=width, scales=scales)) == expected


def test_normfree_learns_on_where_it_is_all_black() -> None:
    y = torch.rand(1, 3, 8, 8, generator=seeded())
    gradients = {}
    for final in ("leaky-sigmoid", "sigmoid"):
        torch.manual_seed(0)
        network = NormFree(width=4, scales=1, final=final)
        assert network.head.bias is not None
        nn.init.constant_(network.head.bias, -200.0)
        out = network(y)
        assert out.max() <= 0
        F.mse_loss(out, y).backward()
        assert network.head.bias.grad is not None
        gradients[final] = float(network.head.bias.grad.abs().max())
    assert gradients["sigmoid"] == 0
    assert gradients["leaky-sigmoid"] > 1e-3


def test_normfree_with_a_dead_head_returns_its_input_where_it_is_residual() -> None:
    network = NormFree(width=4, scales=1, final="residual")
    nn.init.zeros_(network.head.weight)
    assert network.head.bias is not None
    nn.init.zeros_(network.head.bias)
    y = torch.randn(1, 3, 8, 8, generator=seeded())
    assert torch.equal(network(y), y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"final": "tanh"}, "final cannot be 'tanh': one of: leaky-sigmoid, sigmoid"),
        ({"final": "residual", "in_channels": 2}, "needs an input of at least 3 channels"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"scales": 1.5}, "scales must be a whole number"),
    ],
)
def test_normfree_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NormFree(**options)  # type: ignore[arg-type]


def test_segnet_s_deep_groups_compute_in_float32_under_autocast_too() -> None:
    torch.manual_seed(0)
    network = build("segnet", 3, options={"widths": [4, 6, 8]})
    convolutions = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    seen: dict[str, torch.dtype] = {}
    for name, layer in convolutions:

        def note(_layer: nn.Module, _given: object, out: Tensor, name: str = name) -> None:
            seen[name] = out.dtype

        layer.register_forward_hook(note)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(torch.randn(1, 3, 16, 16))
    output.float().square().mean().backward()
    exact = {name for name, kind in seen.items() if kind == torch.float32}
    assert exact == {name for name in seen if ".encoder.1." in name or ".encoder.2." in name}
    assert set(seen.values()) == {torch.float32, torch.bfloat16}
    assert all(weight.grad is not None for weight in network.parameters())


def test_an_exact_forward_pass_has_the_gradients_of_a_narrow_backward_pass() -> None:
    torch.manual_seed(0)
    exact, plain = ExactForward(8, 6, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
    plain.load_state_dict(exact.state_dict())
    x, weights = torch.randn(1, 8, 12, 10), torch.randn(1, 6, 12, 10)
    found = []
    for layer, autocast in ((plain, False), (exact, True), (exact, False), (plain, True)):
        given = x.clone().requires_grad_()
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            out = layer(given)
        (out.float() * weights).sum().backward()
        assert given.grad is not None
        gradients = [given.grad, *(weight.grad.clone() for weight in layer.parameters())]
        found.append((out.detach(), gradients))
    (usual, true), (exactly, narrow), (alone, same), (_, autocasts) = found
    assert torch.equal(exactly, usual)
    assert torch.equal(alone, usual)
    for mine, theirs, own, bare in zip(narrow, true, autocasts, same, strict=True):
        assert torch.equal(bare, theirs)
        torch.testing.assert_close(mine, own, rtol=0.02, atol=0.02 * float(own.abs().max()))
        assert not torch.equal(mine, theirs)


def test_an_exact_forward_pass_is_joined_as_any_convolution() -> None:
    layers = [nn.Sequential(ExactForward(3, 4, 3, padding=1)) for _ in range(2)]
    x = torch.randn(2, 3, 8, 8)
    expected = torch.cat([layer(x[k : k + 1]) for k, layer in enumerate(layers)])
    torch.testing.assert_close(join(layers)(x), expected)
