"""Filling in at once: known pixels stay, slopes come back, nothing else is looked at."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.restoration import inpaint_biharmonic

from guided_dip.filling import bent, filled, shown


def picture(side=48):
    pixels = data.chelsea()[20 : 20 + 2 * side : 2, 100 : 100 + 2 * side : 2] / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def scattered(size, share=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand((1, 1, *size), generator=generator) >= share).double()


def letters(side=48):
    known = torch.ones(1, 1, side, side).double()
    known[..., 8:11, 4:40] = known[..., 15:40, 20:23] = known[..., 30:36, 30:37] = 0
    return known


def error(image, clean, known):
    missing = (known == 0).expand_as(image)
    return float(((image - clean)[missing] ** 2).mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99), st.booleans())
def test_known_pixels_stay_and_missing_ones_are_of_no_account(height, width, seed, holes):
    image = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(seed)).double()
    known = scattered((height, width), 0.6, seed)
    function = bent if holes else filled
    whole = function(image, known)
    assert torch.isfinite(whole).all()
    assert torch.equal(whole * known, image * known)
    other = image * known + 7 * (1 - known)
    torch.testing.assert_close(function(other, known), whole)


@pytest.mark.parametrize("function", [filled, bent])
def test_an_even_picture_is_filled_in_evenly(function):
    image = torch.full((1, 1, 33, 21), 0.3).double()
    for known in (scattered((33, 21), 0.9), letters(33)[..., :21]):
        torch.testing.assert_close(function(image, known), image)


def test_a_slope_is_bent_back_to_a_slope():
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    slope = (rows + 2 * columns)[None, None].double() / 150
    known = letters()
    assert error(bent(slope, known), slope, known) < 0.05 * error(
        filled(slope, known), slope, known
    )


def test_holes_are_filled_in_about_as_well_as_by_biharmonic_equations():
    clean, known = picture(), letters()
    theirs = inpaint_biharmonic(
        (clean * known)[0].permute(1, 2, 0).numpy(), known[0, 0].numpy() == 0, channel_axis=-1
    )
    reference = error(torch.from_numpy(theirs).permute(2, 0, 1)[None], clean, known)
    assert error(bent(clean, known), clean, known) < 1.3 * reference
    assert error(bent(clean, known), clean, known) < error(filled(clean, known), clean, known)


def test_half_of_a_picture_is_filled_in_better_than_by_the_nearest_pixel():
    from guided_dip.restoration.prepare import _filled

    clean, known = picture(), scattered((48, 48))
    pixels = clean[0].permute(1, 2, 0).numpy().astype(np.float32)
    nearest = torch.from_numpy(_filled(pixels, known[0, 0].numpy() == 0)).permute(2, 0, 1)[None]
    assert error(filled(clean, known), clean, known) < 0.8 * error(nearest, clean, known)


def test_what_a_network_is_shown_is_filled_in_beside_the_mask():
    clean, known = picture(), scattered((48, 48))
    for holes, function in ((False, filled), (True, bent)):
        given_ = shown(clean, known, holes=holes)
        assert torch.equal(given_[:, :3], function(clean, known))
        assert torch.equal(given_[:, 3:], known)


def test_where_nothing_is_known_there_is_nothing():
    assert torch.equal(filled(picture(), torch.zeros(1, 1, 48, 48).double()), 0 * picture())
