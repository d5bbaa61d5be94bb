"""``guided-dip diffuse``: an image on its way through the forward process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guided_dip.cli import options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from guided_dip.diffusion import Schedule

SHOWN = 256  # pixels; a picture of a strip has no room for more


def diffuse(
    image: Annotated[Path, typer.Argument(metavar="IN", help="A clean image.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The strip: .png, .pdf or .svg.")
    ],
    schedule: Annotated[
        str, typer.Option(metavar="NAME", help="Beta schedule: cosine, linear or sigmoid.")
    ] = "cosine",
    count: Annotated[int, typer.Option(metavar="N", help="Number of guides.")] = 20,
    start: Annotated[int, typer.Option(metavar="T", help="Timestep of the most noisy.")] = 500,
    end: Annotated[int, typer.Option(metavar="T", help="Timestep of the least noisy.")] = 40,
    noise_convention: Annotated[
        str, typer.Option(metavar="NAME", help="unbiased, centred, or the report's offset.")
    ] = "unbiased",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the noise.")] = 0,
    white: options.White = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
) -> None:
    """Draw the forward process: the image and its guides, from least to most noisy."""
    from guided_dip.diffusion import LOWER_CLIP, make_schedule
    from guided_dip.errors import InputError
    from guided_dip.guidance import timesteps
    from guided_dip.images import in_units_of_white, read, same_file
    from guided_dip.plots import check_figure_file, forward_strip, save

    if same_file(image, output):
        raise InputError(f"{output}: is the input; try another name for the strip")
    check_figure_file(output, overwrite=overwrite)
    betas = make_schedule(schedule, lower_clip=LOWER_CLIP)
    times = timesteps(start, end, count)
    x_0 = _shrunk(in_units_of_white(read(image).pixels, "auto" if white is None else white))
    guides = [_guide(x_0, t, betas, noise_convention, seed) for t in reversed(times)]
    title = f"{image.name}: forward process, {schedule} schedule, {noise_convention} noise"
    save(forward_strip(x_0, guides, title=title), output)


def _guide(
    x_0: NDArray[np.float32], t: int, schedule: Schedule, convention: str, seed: int
) -> tuple[int, float, NDArray[np.float32]]:
    """Return a guide as the strip wants it: timestep, standard deviation of its noise, pixels."""
    import numpy as np

    from guided_dip.diffusion import coefficients, forward

    noise = coefficients(schedule, t, convention).noise
    eps = np.random.default_rng([seed, t]).standard_normal(x_0.shape, dtype=np.float32)
    return t, noise, forward(x_0, eps, t, schedule, convention=convention)


def _shrunk(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average blocks of a picture that is larger than the strip shows."""
    height, width = pixels.shape[:2]
    block = -(-max(height, width) // SHOWN)
    if block == 1 or min(height, width) < block:
        return pixels
    rows, columns = height // block, width // block
    cut = pixels[: rows * block, : columns * block]
    blocks = cut.reshape(rows, block, columns, block, *pixels.shape[2:])
    mean: NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return mean
