"""The worked examples of docs/extending.md do what the page says."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guided_dip import restore
from guided_dip.batch.work import Orders
from guided_dip.cli import run
from guided_dip.config import make_config
from guided_dip.metrics import psnr

FOLDER = Path(__file__).parent.parent / "examples" / "extend"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
TINY = {"backbone_options": {"width": 8}, "threads": 1}


def example(name):
    spec = importlib.util.spec_from_file_location(f"extend_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def scene(side=32, channels=3):
    rows, columns = np.mgrid[:side, :side] / side
    planes = [0.5 + 0.3 * np.sin(6 * rows + k) * np.cos(5 * columns) for k in range(channels)]
    return np.stack(planes, -1).astype(np.float32)


def score(image, clean):
    return psnr(np.asarray(image), clean, data_range=1.0)


def as_tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def test_each_is_short_and_shown():
    page = (FOLDER.parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    assert EXAMPLES == ["backbone", "executor", "forward_operator", "supervision", "task"]
    for name in EXAMPLES:
        assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 40
        assert f"../examples/extend/{name}.py" in page


def test_a_backbone_restores_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    clean = np.uint8(255 * scene())
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 25, clean.shape), 0, 255)
    Image.fromarray(np.uint8(noisy)).save(tmp_path / "noisy.png")
    words = ["restore", str(tmp_path / "noisy.png"), "-o", str(tmp_path / "out.png"), "--quiet"]
    words += ["--backbone", "backbone:residual", "--noise", "gaussian:25", "--steps", "40"]
    assert run([*words, "--set", "threads=1"]) == 0
    found = np.asarray(Image.open(tmp_path / "out.png"))
    assert psnr(found, clean, data_range=255) > psnr(np.uint8(noisy), clean, data_range=255) + 3


def test_a_backbone_passes_what_the_projects_own_pass(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from guided_dip.backbones import build

    for channels in (1, 3):
        network = build("backbone:residual", channels, options={"width": 4})
        output = network(torch.rand(1, channels, 7, 10))
        assert output.shape == (1, channels, 7, 10)
        output.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_an_operator_has_its_adjoint_and_is_undone():
    module = example("forward_operator")
    operator, rng = module.Interlaced(), torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, 3, 9, 12, generator=rng, dtype=torch.float64) for _ in range(2))
    assert torch.allclose((operator(x) * y).sum(), (x * operator.adjoint(y)).sum())
    clean = scene()
    measured = operator(as_tensor(clean))[0].permute(1, 2, 0).numpy()
    measured = measured + np.random.default_rng(0).normal(0, 10 / 255, clean.shape)
    measured = measured.astype(np.float32)
    result = module.straighten(measured, 10, steps=60, **TINY)
    assert score(result.image, clean) > score(measured, clean) + 3


def test_a_supervision_of_two_shots_beats_their_mean():
    clean, rng = scene(), np.random.default_rng(0)
    shots = [(clean + rng.normal(0, 40 / 255, clean.shape)).astype(np.float32) for _ in range(2)]
    torch.manual_seed(0)
    found = example("supervision").restore_pair(*map(as_tensor, shots), steps=150, width=8)
    found = found[0].permute(1, 2, 0).numpy()
    assert score(found, clean) > score(np.mean(shots, 0), clean) + 1


def test_a_task_is_undone_with_its_noise():
    module, clean = example("task"), scene()
    matrix = np.array([[0.8, 0.3, 0], [0.2, 0.7, 0.2], [0, 0.3, 0.6]], np.float32)
    measured = clean @ matrix.T + np.random.default_rng(0).normal(0, 10 / 255, clean.shape)
    measured = measured.astype(np.float32)
    plain = measured @ np.linalg.inv(matrix).T
    result = module.unmix(measured, matrix, noise="gaussian:10", steps=80, **TINY)
    assert result.image.shape == clean.shape
    assert score(result.image, clean) > score(plain, clean) + 2


def test_an_executor_restores_a_folder_as_the_command_does(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(2):
        noisy = scene(16) + np.random.default_rng(k).normal(0, 0.1, (16, 16, 3))
        Image.fromarray(np.uint8(255 * noisy.clip(0, 1))).save(tmp_path / "in" / f"{k}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    config = make_config({"noise": "gaussian:25", "steps": 3, **TINY})
    ending = example("executor").restore_folder(tmp_path / "in", tmp_path / "out", Orders(config))
    assert (ending.counts.done, ending.counts.failed, ending.counts.queued) == (2, 1, 0)
    restored = np.asarray(Image.open(tmp_path / "out" / "0.png"))
    given = np.asarray(Image.open(tmp_path / "in" / "0.png"))
    assert np.array_equal(restored, restore(given, noise="gaussian:25", steps=3, **TINY).image)
    assert run(["batch", "status", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_says_what_it_is(name):
    assert (FOLDER / f"{name}.py").read_text().startswith('"""A')
