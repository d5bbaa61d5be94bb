"""Adam, AdamW and Muon train every parameter once; Muon is checked against PyTorch's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from guided_dip import backbones
from guided_dip.optimizers import OPTIMIZERS, FusedAdam, Muon, make_optimizers, orthogonalized


def network():
    torch.manual_seed(0)
    return backbones.build("skip", 3, in_channels=3, options={"width": 8, "scales": 2})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_belongs_to_one_optimizer(name):
    net = network()
    optimizers = make_optimizers(net, name, learning_rate=1e-3)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    found = [parameter.data_ptr() for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(parameter.data_ptr() for parameter in net.parameters())
    assert all(group["peak"] == group["lr"] for group in groups)


def test_muon_takes_all_convolutions_but_the_last():
    net = network()
    muon, adamw = make_optimizers(net, "muon", learning_rate=1e-3, muon_learning_rate=0.5)
    assert isinstance(muon, Muon)
    assert isinstance(adamw, FusedAdam)
    convolutions = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert {id(p) for p in muon.param_groups[0]["params"]} == {id(w) for w in convolutions[:-1]}
    assert (muon.param_groups[0]["peak"], adamw.param_groups[0]["peak"]) == (0.5, 1e-3)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradients", [torch.contiguous_format, torch.channels_last])
def test_the_fused_adam_is_the_plain_one_in_every_layout(layout, gradients, decay):
    """Every weight moves by its own gradient, however the two lie in memory."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 3, 3, 2), (4, 1, 3, 3), (3, 6, 1, 1), (1, 2, 2, 1), (7,), ()]
    plain = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    fused = [
        nn.Parameter(
            p.detach().clone(memory_format=layout if p.dim() == 4 else torch.preserve_format)
        )
        for p in plain
    ]
    reference = torch.optim.AdamW(plain, lr=0.1, weight_decay=decay, fused=False, foreach=False)
    ours = FusedAdam(fused, lr=0.1, weight_decay=decay)
    for step in range(4):
        for p, q in zip(plain, fused, strict=True):
            if p.dim() == 0 and step == 1:
                p.grad = q.grad = None  # what has no gradient stays
                continue
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone(
                memory_format=gradients if p.dim() == 4 else torch.preserve_format
            )
        reference.step()
        ours.step()
        for p, q in zip(plain, fused, strict=True):
            torch.testing.assert_close(q, p, rtol=1e-5, atol=1e-6)


def test_a_network_without_convolutions_is_adamw_s():
    (only,) = make_optimizers(nn.Linear(3, 3), "muon", learning_rate=1e-3)
    assert isinstance(only, FusedAdam)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.floats(-6, 6))
def test_orthogonalized_keeps_directions_and_evens_lengths(rows, columns, seed, power):
    torch.manual_seed(seed)
    rank = min(rows, columns)
    u, _ = torch.linalg.qr(torch.randn(rows, rank))
    v, _ = torch.linalg.qr(torch.randn(columns, rank))
    lengths = torch.linspace(0.1, 1, rank) * 10**power
    found = orthogonalized((u * lengths @ v.mT)[None])[0]
    inner = u.mT @ found @ v
    assert torch.allclose(inner, torch.diag(inner.diag()), atol=0.02)
    assert 0.6 < float(inner.diag().min()) <= float(inner.diag().max()) < 1.3


def test_matrices_do_not_disturb_each_other():
    torch.manual_seed(0)
    matrices = torch.randn(3, 5, 9) * torch.tensor([1e-3, 1, 1e3])[:, None, None]
    one_by_one = torch.cat([orthogonalized(matrix[None]) for matrix in matrices])
    assert torch.allclose(orthogonalized(matrices), one_by_one, atol=1e-5)


def test_nothing_stays_nothing():
    assert not orthogonalized(torch.zeros(1, 4, 6)).any()


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (8, 8)])
def test_steps_are_those_of_pytorch_s_muon(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    a = Muon([ours], lr=0.02, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True)
    for _ in range(5):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient, gradient.clone()
        a.step()
        b.step()
    moved = (ours - start).detach()
    # PyTorch's products are in bfloat16, of 8 bits.
    assert torch.linalg.norm(ours - theirs) < 0.02 * torch.linalg.norm(moved)


def test_a_kernel_is_the_matrix_of_its_outputs():
    torch.manual_seed(0)
    kernel, gradient = torch.randn(6, 4, 3, 3), torch.randn(6, 4, 3, 3)
    four, two = nn.Parameter(kernel.clone()), nn.Parameter(kernel.reshape(6, 36).clone())
    four.grad, two.grad = gradient, gradient.reshape(6, 36)
    Muon([four], lr=0.1).step()
    Muon([two], lr=0.1).step()
    assert np.array_equal(four.detach().reshape(6, 36), two.detach())


def test_parameters_without_gradients_stay():
    still = nn.Parameter(torch.ones(3, 3))
    Muon([still], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still.detach(), torch.ones(3, 3))
