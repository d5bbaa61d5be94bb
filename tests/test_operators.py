"""Forward operators: adjoints, and what independent implementations make of the same."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, signal

from guided_dip.errors import InputError
from guided_dip.operators import (
    Blur,
    Downsample,
    Gain,
    Mask,
    Operator,
    Weighted,
    agreeing,
    enlarged,
    from_callable,
    gaussian_kernel,
    identity,
    inverted,
    motion_kernel,
    parse_kernel,
    solved,
    squared_norm,
)

SIZES = [(24, 36), (25, 37), (48, 24)]  # odd and even


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


Y32 = random(1, 1, 12, 16).float()


def cases():
    for height, width in SIZES:
        yield "identity", identity, (height, width)
        yield "mask", Mask((random(1, 1, height, width) > 0).double()), (height, width)
        yield "gain", Gain(random(1, 3, height, width)), (height, width)
        for text in ("gaussian:1.3", "motion:7,30", "motion:4,0"):
            yield text, Blur(parse_kernel(text)), (height, width)
        weights = random(1, 1, height, width)
        yield "weighted", Weighted(Gain(random(1, 3, height, width)), weights), (height, width)
        yield "uneven kernel", Blur(np.arange(15.0).reshape(5, 3)), (height, width)
        yield (
            "callable",
            from_callable(lambda x: x.flip(-1)[..., 1:] * 2, (1, 3, height, width)),
            (
                height,
                width,
            ),
        )
    for kernel in ("area", "bicubic", "lanczos"):
        for scale in (1, 2, 3, 4):
            yield f"{kernel} {scale}", Downsample(scale, kernel), (5 * scale, 8 * scale)


@pytest.mark.parametrize(("name", "operator", "size"), list(cases()))
def test_each_operator_has_its_adjoint(name, operator, size):
    x = random(1, 3, *size, seed=1)
    measured = operator(x)
    y = random(*measured.shape, seed=2)
    back = operator.adjoint(y)
    assert back.shape == x.shape
    assert torch.sum(measured * y).item() == pytest.approx(torch.sum(x * back).item(), rel=1e-12)
    assert isinstance(operator, Operator)
    twice = operator(2 * x + x.flip(-1))
    torch.testing.assert_close(twice, 2 * measured + operator(x.flip(-1)))


@pytest.mark.parametrize(
    ("kernel", "theirs"), [("area", "BOX"), ("bicubic", "BICUBIC"), ("lanczos", "LANCZOS")]
)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_downsampling_is_pillow_s(kernel, theirs, scale):
    image = np.random.default_rng(0).random((6 * scale, 9 * scale)).astype(np.float32)
    small = Image.fromarray(image).resize((9, 6), getattr(Image.Resampling, theirs))
    ours = Downsample(scale, kernel)(torch.from_numpy(image)[None, None].double())
    np.testing.assert_allclose(ours[0, 0].numpy(), np.asarray(small), atol=2e-6)


@pytest.mark.parametrize("text", ["gaussian:2.0", "motion:15,30", "motion:1,0"])
def test_blur_is_scipy_s_valid_convolution(text):
    kernel = parse_kernel(text)
    image = random(1, 2, 50, 41)
    for channel, ours in zip(image[0], Blur(kernel)(image)[0], strict=True):
        theirs = signal.convolve2d(channel.numpy(), kernel, mode="valid")
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_a_kernel_of_any_shape_and_sum_is_scipy_s():
    kernel = np.arange(15.0).reshape(5, 3)
    blur = Blur(kernel)
    assert blur.reach == (2, 1)
    assert blur.kernel.sum() == pytest.approx(1)
    image = random(1, 1, 20, 17)
    theirs = signal.convolve2d(image[0, 0].numpy(), kernel / 105, mode="valid")
    np.testing.assert_allclose(blur(image)[0, 0].numpy(), theirs, atol=1e-12)
    np.testing.assert_allclose(Blur(kernel.astype(int))(image)[0, 0].numpy(), theirs, atol=1e-12)
    # Asked for again, in another size and type: what is kept of it is kept apart.
    small = blur(image[..., :11, :9].float())
    assert small.dtype == torch.float32
    np.testing.assert_allclose(small[0, 0].numpy(), theirs[:7, :7], atol=1e-5)
    assert Blur(np.ones((255, 1))).reach == (127, 0)


@pytest.mark.parametrize("operator", [Downsample(2), Blur(gaussian_kernel(0.5)), Gain(Y32)])
def test_single_precision_stays_single(operator):
    measured = operator(Y32)
    assert measured.dtype == torch.float32
    back = operator.adjoint(measured)
    assert back.dtype == torch.float32
    assert back.shape == Y32.shape


def test_gaussian_blur_is_scipy_s():
    image = random(1, 1, 60, 60)
    theirs = ndimage.gaussian_filter(image[0, 0].numpy(), 2.0, truncate=4.0)
    ours = Blur(gaussian_kernel(2.0))(image)[0, 0].numpy()
    np.testing.assert_allclose(ours, theirs[8:-8, 8:-8], atol=1e-12)


@given(st.floats(0.3, 20), st.floats(1, 60), st.floats(-400, 400))
def test_kernels_sum_to_one_and_are_centred(sigma, length, angle):
    for kernel in (gaussian_kernel(sigma), motion_kernel(length, angle)):
        assert kernel.sum() == pytest.approx(1)
        assert kernel.min() >= 0
        assert all(side % 2 for side in kernel.shape)
        centre = ndimage.center_of_mass(kernel)
        assert centre == pytest.approx([(side - 1) / 2 for side in kernel.shape], abs=1e-6)


@pytest.mark.parametrize(
    ("make", "largest", "name", "shape"),
    [
        (gaussian_kernel, 31.75, "sigma of a Gaussian kernel", (255, 255)),
        (lambda length: motion_kernel(length, 0), 253, "length of a motion", (253, 253)),
    ],
)
def test_the_largest_kernels(make, largest, name, shape):
    assert Blur(make(largest)).kernel.shape == shape
    for wrong in (0, -1.0, largest + 0.01, math.inf):
        with pytest.raises(InputError) as raised:
            make(wrong)
        assert str(raised.value) == (
            f"the {name} lies above 0 and at most at {largest:g}, not {wrong!r}"
        )


def test_short_motions():
    assert motion_kernel(1, 30).tolist() == [[1.0]]
    assert motion_kernel(0.5, 30).tolist() == [[1.0]]
    short = motion_kernel(1.5, 0)
    assert short.shape == (3, 3)
    assert short[1] == pytest.approx([0.066, 0.868, 0.066], abs=0.01)


@given(st.floats(3, 60), st.floats(-180, 180))
def test_a_motion_goes_its_length_in_its_direction(length, angle):
    kernel = motion_kernel(length, angle)
    rows, columns = np.indices(kernel.shape) - (kernel.shape[0] - 1) / 2
    across = columns * math.cos(math.radians(angle)) - rows * math.sin(math.radians(angle))
    beside = columns * math.sin(math.radians(angle)) + rows * math.cos(math.radians(angle))
    # An even distribution over (length - 1), and what sharing among pixels adds: at most 1/4 each.
    assert (kernel * across**2).sum() == pytest.approx((length - 1) ** 2 / 12, abs=0.8)
    assert (kernel * beside**2).sum() < 0.3


def test_a_horizontal_motion_shifts_no_row():
    kernel = motion_kernel(5, 0)
    assert kernel.shape == (5, 5)
    assert kernel[2].sum() == pytest.approx(1)
    assert (kernel[2] > 0).all()


def every_second(x):
    return x[..., ::2]


def spread_out(y):
    return torch.stack([y, torch.zeros_like(y)], -1).flatten(-2)


def thrice_spread_out(y):  # not the true adjoint, to be told from what is found of A
    return 3 * spread_out(y)


PHYSICS = SimpleNamespace(A=every_second, A_adjoint=thrice_spread_out)  # as deepinv's


def test_objects_with_a_and_its_adjoint_are_taken_as_they_are():
    operator = from_callable(PHYSICS, (1, 1, 4, 6))
    x, y = random(1, 1, 4, 6), random(1, 1, 4, 3, seed=3)
    assert torch.equal(operator(x), x[..., ::2])
    assert torch.equal(operator.adjoint(y), thrice_spread_out(y))
    found = from_callable(every_second, (1, 1, 4, 6))  # by automatic differentiation
    assert torch.equal(found.adjoint(y), spread_out(y))
    assert from_callable(identity, (1, 1, 2, 2)) is identity


def test_a_function_may_bring_its_adjoint():
    def forward(x):
        return x[..., ::2]

    forward.A_adjoint = thrice_spread_out
    operator = from_callable(forward, (1, 1, 4, 6))
    y = random(1, 1, 4, 3)
    assert torch.equal(operator.adjoint(y), thrice_spread_out(y))
    only_forward = from_callable(SimpleNamespace(A=every_second), (1, 1, 4, 6))
    assert torch.equal(only_forward.adjoint(y), spread_out(y))


def test_what_an_operator_may_be_is_told():
    with pytest.raises(InputError) as raised:
        from_callable(3, (1, 1, 2, 2))
    assert str(raised.value) == (
        "a int is no operator: try a function from image to measurement, or an object with A and "
        "A_adjoint"
    )


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_enlarging_is_pillow_s(factor):
    image = np.random.default_rng(0).random((6, 9)).astype(np.float32)
    large = Image.fromarray(image).resize((9 * factor, 6 * factor), Image.Resampling.BICUBIC)
    ours = enlarged(torch.from_numpy(image)[None, None].double(), factor)
    np.testing.assert_allclose(ours[0, 0].numpy(), np.asarray(large), atol=2e-6)


@pytest.mark.parametrize("kernel", ["area", "bicubic", "lanczos"])
def test_back_projection_brings_an_image_to_its_measurement(kernel):
    operator = Downsample(2, kernel)
    image, truth = random(1, 3, 20, 24), random(1, 3, 20, 24, seed=1)
    measured = operator(truth)
    brought = agreeing(image, measured, operator)
    before, after = (float((operator(x) - measured).norm()) for x in (image, brought))
    assert after < 0.03 * before
    torch.testing.assert_close(agreeing(truth, measured, operator), truth)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Downsample(0), "whole number from 1"),
        (lambda: Downsample(2.5), "whole number from 1"),
        (lambda: Downsample(2, "cubic"), "did you mean 'bicubic'"),
        (lambda: Downsample(3)(random(1, 1, 6, 7)), "must be multiples"),
        (lambda: Blur(np.ones((2, 3))), "odd sides"),
        (lambda: Blur(np.ones(3)), "odd sides"),
        (lambda: Blur(np.zeros((3, 3))), "some are above 0"),
        (lambda: Blur(-np.ones((3, 3))), "none is below 0"),
        (lambda: Blur(np.full((3, 3), np.nan)), "are finite"),
        (lambda: Blur(np.full((3, 3), np.inf)), "are finite"),
        (lambda: Blur(np.ones((257, 1))), "at most 255"),
        (lambda: Blur(np.ones((5, 5)))(random(1, 1, 4, 9)), "smaller than the blur"),
        (lambda: parse_kernel("gaussian"), "is no kernel"),
        (lambda: parse_kernel("gaussian:x"), "is no kernel"),
        (lambda: parse_kernel("gaussian:-1"), "above 0"),
        (lambda: parse_kernel("gaussian:nan"), "above 0"),
        (lambda: parse_kernel("gaussian:1e9"), "at most"),
        (lambda: parse_kernel("motion:15"), "is no kernel"),
        (lambda: parse_kernel("motion:15,inf"), "degrees"),
        (lambda: from_callable(3, (1, 1, 2, 2)), "is no operator"),
        (
            lambda: from_callable(lambda _: 3, (1, 1, 2, 2))(random(1, 1, 2, 2)),
            "gave a int, and no",
        ),
    ],
)
def test_what_is_no_operator_says_why(make, message):
    with pytest.raises(InputError, match=message):
        make()


def dense(operator, size):
    """Return an operator on images (1, 1, *size) as a matrix."""
    columns = torch.eye(math.prod(size), dtype=torch.float64).view(-1, 1, 1, *size)
    return torch.stack([operator(column).flatten() for column in columns], 1)


@pytest.mark.parametrize(
    "operator", [Gain(random(1, 1, 5, 6)), Blur(gaussian_kernel(0.4)), Downsample(1)]
)
def test_a_measurement_is_inverted_as_by_linear_algebra(operator):
    size = (5, 6)
    like = torch.zeros(1, 1, *size, dtype=torch.float64)
    if isinstance(operator, Blur):
        like = torch.zeros(1, 1, 9, 10, dtype=torch.float64)
        size = (9, 10)
    matrix = dense(operator, size)
    largest = float(torch.linalg.svdvals(matrix)[0]) ** 2
    assert squared_norm(operator, like) == pytest.approx(largest, rel=0.1)
    assert squared_norm(operator, like) <= largest * (1 + 1e-9)
    y = random(*operator(like).shape, seed=3)
    ours = inverted(operator, y, like, norm=largest)
    system = matrix.mT @ matrix + 0.01 * largest * torch.eye(matrix.shape[1])
    theirs = torch.linalg.solve(system, matrix.mT @ y.flatten()).view_as(ours)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02 * float(theirs.abs().max()))


def test_what_is_solved_already_takes_no_round():
    start = random(1, 1, 3, 3)

    def system(image):
        raise AssertionError("there is nothing to solve")

    assert torch.equal(solved(system, torch.zeros_like(start), start, 5), start)


def test_conjugate_gradients_end_in_as_many_rounds_as_there_are_unknowns():
    root = random(6, 6)
    matrix = root.mT @ root + torch.eye(6)
    right = random(6, seed=1)
    rounds = []

    def system(image):
        rounds.append(1)
        return matrix @ image

    found = solved(system, right, torch.zeros(6, dtype=torch.float64), 50)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), rtol=0, atol=1e-5)
    assert len(rounds) <= 8
    one = solved(system, right, torch.zeros(6, dtype=torch.float64), 1)
    along = float(right @ right) / float(right @ matrix @ right) * right
    torch.testing.assert_close(one, along)


def test_nothing_comes_back_from_an_operator_that_makes_nothing():
    nothing = Gain(torch.zeros(1, 1, 4, 4))
    like = torch.zeros(1, 1, 4, 4)
    assert squared_norm(nothing, like) == 0
    assert torch.equal(inverted(nothing, torch.ones(1, 1, 4, 4), like), like)
