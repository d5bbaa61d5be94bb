"""Peak memory: of this process on Linux, of the GPU by PyTorch, and nothing elsewhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from guided_dip import memory, restore
from guided_dip.memory import forget_peak, memory_reused, peak_memory

SLACK = 8  # MiB; Linux adds up each thread's share of the count in batches
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts it")


@linux
def test_the_peak_counts_what_was_freed_again_until_it_is_forgotten():
    before = peak_memory()
    block = np.ones((before + 200) * 2**20, np.uint8)
    held = peak_memory()
    del block
    assert held >= before + 200 - SLACK
    assert peak_memory() >= held - SLACK
    forget_peak()
    assert peak_memory() < held - 100


def test_the_high_water_mark_is_read_in_kibibytes_and_rounded_up(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PROC", tmp_path)
    (tmp_path / "status").write_text("Name:\tx\nVmPeak:\t   9 kB\nVmHWM:\t  2049 kB\n")
    assert peak_memory() == 3
    forget_peak()
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("Name:\tx\n")
    assert peak_memory() is None


def test_where_nothing_counts_it_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PROC", tmp_path / "absent")
    forget_peak()
    assert peak_memory() is None


def test_of_a_gpu_it_is_what_pytorch_allocated(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20 + 1)
    forget_peak("cuda:1")
    assert peak_memory("cuda:1") == 6
    assert asked == ["cuda:1"]


@linux
def test_a_result_has_the_peak_and_forgets_none():
    forget_peak()
    block = np.ones((peak_memory() + 300) * 2**20, np.uint8)
    held = peak_memory()
    del block
    y = np.random.default_rng(0).normal(0.5, 0.1, (32, 32)).astype(np.float32)
    result = restore(y, noise="gaussian:25", steps=2, backbone_options={"width": 4}, device="cpu")
    assert result.peak_memory >= held - SLACK


REUSE = """
import resource, numpy
from guided_dip.memory import memory_now, memory_reused, reuse_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        numpy.ones(6 * 2**20)  # 48 MiB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

reuse_memory(False)
usual = faults()
with memory_reused():
    numpy.ones(6 * 2**20)
    reused, held = faults(), memory_now()
print(usual, reused, held - memory_now(), faults())
"""


@pytest.mark.skipif(not memory._glibc(), reason="only glibc is told")
def test_freed_memory_is_reused_without_asking_the_system_and_given_back_at_the_end():
    done = subprocess.run([sys.executable, "-c", REUSE], capture_output=True, text=True, check=True)
    usual, reused, given_back, after = map(int, done.stdout.split())
    assert reused < usual / 20
    assert given_back >= 40
    assert after > usual / 2


def test_elsewhere_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory._glibc() is None
    with memory_reused():
        memory.reuse_memory(True)
