"""JPEG's rounding: its tables, its noise and its intervals, against Pillow and scipy."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from skimage import data

from guided_dip.errors import InputError
from guided_dip.jpeg import Rounding, Tables, read_tables, spread

LUMA_50 = [16, 11, 10, 16, 24, 40, 51, 61]  # first line of the standard's table (ITU T.81, K.1)


def encoded(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    file.seek(0)
    return Image.open(file)


def tensor(pixels):
    pixels = np.atleast_3d(pixels).astype(np.float64) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def cat(side=128):
    return data.chelsea()[20 : 20 + side, 100 : 100 + side]


@pytest.mark.parametrize(
    ("subsampling", "smaller"), [("4:4:4", (1, 1)), ("4:2:2", (1, 2)), ("4:2:0", (2, 2))]
)
def test_tables_are_those_of_the_file(subsampling, smaller):
    tables = read_tables(encoded(cat(), quality=50, subsampling=subsampling))
    assert tables.luma[0].tolist() == LUMA_50
    assert tables.luma[1].tolist() == [12, 12, 14, 19, 26, 58, 60, 55]
    assert tables.chroma[0].tolist() == [17, 18, 24, 47, 99, 99, 99, 99]
    assert tables.smaller == smaller
    gray = read_tables(encoded(cat()[..., 1], quality=50))
    assert gray.luma[0].tolist() == LUMA_50
    assert gray.smaller == (1, 1)


def test_other_files_have_none():
    with pytest.raises(InputError, match="try a JPEG file"):
        read_tables(Image.new("RGB", (8, 8)))
    file = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(file, "JPEG")
    with pytest.raises(InputError, match="CMYK"):
        read_tables(Image.open(file))


@pytest.mark.parametrize("quality", [5, 10, 30, 70])
def test_the_original_lies_within_the_intervals_of_gray_files(quality):
    original = cat()[..., 1]
    jpeg = encoded(original, quality=quality)
    rounding = Rounding(tensor(np.asarray(jpeg)), read_tables(jpeg))
    clean = tensor(original)
    # But for the decoder's rounding to whole pixels, which may move a coefficient to the next step.
    assert (rounding.within(clean) - clean).abs().max() < 2.5 / 255
    moved = rounding.within(tensor(np.asarray(jpeg)) + 0.1)
    assert (rounding.within(moved) - moved).abs().max() < 1e-9
    step = read_tables(jpeg).luma / 255
    coefficients = dctn(moved[0, 0, 8:16, 16:24].numpy() - 128 / 255, norm="ortho")
    block = (np.asarray(jpeg)[8:16, 16:24].astype(float) - 128) / 255
    rounded = np.round(dctn(block, norm="ortho") / step) * step
    assert (np.abs(coefficients - rounded) <= step / 2 + 1e-9).all()


@pytest.mark.parametrize("quality", [10, 20, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_its_noise_is_as_strong_as_the_file_s(quality, channels):
    original = cat(256) if channels == 3 else cat(256)[..., 1]
    jpeg = encoded(original, quality=quality)
    decoded = tensor(np.asarray(jpeg))
    rounding = Rounding(decoded, read_tables(jpeg))
    error = decoded - tensor(original)
    white = torch.randn(decoded.shape, generator=torch.Generator().manual_seed(0)).double()
    drawn = rounding(white)
    assert drawn.shape == decoded.shape
    assert drawn.std().item() == pytest.approx(error.std().item(), rel=0.25)
    assert abs(drawn.mean().item()) < 0.1 * drawn.std().item()
    if channels == 1:  # where its power lies
        theirs, ours = power(error), power(drawn)
        assert np.average(np.abs(np.log2(ours / theirs)), weights=theirs) < 1


def power(image):
    blocks = image[0, 0].unfold(0, 8, 8).unfold(1, 8, 8).reshape(-1, 8, 8).numpy()
    return (dctn(blocks, norm="ortho", axes=(1, 2)) ** 2).mean(0)


def test_what_survived_was_moved_evenly_within_its_step():
    step = torch.full((8, 8), 0.1)
    rounded = torch.full((1, 1, 4, 4, 8, 8), 0.3)
    assert torch.allclose(spread(rounded, step), step / 12**0.5)
    gone = spread(torch.zeros(1, 1, 4, 4, 8, 8), step)
    assert (gone < 0.03).all()  # 0.1 / sqrt(12) would be 0.029
    assert (gone > 0).all()


@pytest.mark.parametrize("b", [0.02, 0.05, 0.2])
def test_the_spread_of_what_became_zero_is_that_of_a_laplacian(b):
    step = torch.full((8, 8), 0.1, dtype=torch.float64)
    drawn = np.random.default_rng(0).laplace(0, b, (1, 1, 64, 64, 8, 8))
    given = torch.from_numpy(drawn)
    rounded = torch.round(given / step) * step
    found = spread(rounded, step)
    zeros = (rounded == 0) & (torch.arange(64).view(8, 8) > 0)
    theirs = given[zeros].pow(2).mean().sqrt()
    assert found[zeros].pow(2).mean().sqrt().item() == pytest.approx(theirs.item(), rel=0.05)


def test_odd_sizes_have_their_last_blocks_filled_up():
    original = cat(128)[:45, :83]
    jpeg = encoded(original, quality=20)
    rounding = Rounding(tensor(np.asarray(jpeg)), read_tables(jpeg))
    white = torch.randn(1, 3, 45, 83).double()
    assert rounding(white).shape == (1, 3, 45, 83)
    assert rounding.within(white).shape == (1, 3, 45, 83)
    assert isinstance(read_tables(jpeg), Tables)
    assert 0.001 < rounding.sigma < 0.1
