"""Device, precision, threads."""

import numpy as np
import pytest
import torch
from torch import nn

from guided_dip.engine import (
    Engine,
    describe_devices,
    has_fast_bfloat16,
    resolve_device,
    resolve_precision,
    thread_count,
    to_array,
    to_tensor,
)
from guided_dip.errors import InputError

CPU = torch.device("cpu")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == CPU
    assert "cpu" in describe_devices()
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["cuda:99", "cpu:1"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(InputError, match=f"'{name}' is not on this machine: use one of cpu"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu():
    with pytest.raises(InputError, match="not on this machine"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["cudda", "gpu", "cuda:x", "", "cuda:-1"])
def test_an_unknown_device(name):
    with pytest.raises(InputError, match="unknown device"):
        resolve_device(name)


def test_precision():
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    expected = "bfloat16" if has_fast_bfloat16(CPU) else "float32"
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_engine_takes_and_gives_float32(precision):
    torch.manual_seed(0)
    net = nn.Conv2d(3, 2, 3, padding=1)
    x = torch.rand(1, 3, 9, 7)
    expected = net(x)
    engine = Engine(net, CPU, precision)
    output = engine(x)
    assert output.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in engine.parameters())
    torch.testing.assert_close(
        output, expected, rtol=0, atol=1e-6 if precision == "float32" else 0.02
    )
    if precision == "bfloat16":
        assert not torch.equal(output, expected)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), thread_count(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before
    with thread_count(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 7, 1)])
def test_an_array_becomes_a_tensor_of_its_own_and_comes_back(shape):
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    tensor = to_tensor(pixels, CPU)
    assert tensor.shape == (1, shape[2], *shape[:2])
    assert tensor.is_contiguous()
    assert tensor[0, 0, 0, 1] == pixels[0, 1, 0]
    np.testing.assert_array_equal(to_array(tensor), pixels)
    before = pixels.copy()
    tensor.zero_()
    np.testing.assert_array_equal(pixels, before)
    assert to_array(tensor.bfloat16()).dtype == np.float32
