"""A line of an ablation's tidy table."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Line:
    """A run as a level of a factor. PSNR in dB; None where a number has no meaning.

    Attributes
    ----------
    base, factor, level
        What was varied; both of the latter are ``base`` for the base as it is.
    picture, seed
        What it was run with.
    run
        Its name, the same on all lines of one run.
    digest
        Of all that decides what comes of it, but for the company in which it was computed.
    saw
        What it was allowed to see.
    settings
        What differs from the base, as JSON.
    steps
        Iterations.
    psnr, ssim
        Of the restoration, which may be a mean over several outputs.
    input_psnr
        Of the image that was restored; None where that is the clean one.
    final_psnr, final_loss
        Of the last step.
    best_psnr, best_step
        Largest PSNR of any step, and the first (0-based) step that has it: an oracle's figures.
    best_at
        Part of the run at whose end that step is.
    lost
        ``best_psnr - final_psnr``.
    trend_drop
        How far the PSNR's running mean ends below its own largest value.
    ceiling
        PSNR of the last guide's expectation; None where the guides are unbiased.
    guides_psnr
        PSNR of the guides' own mean, weighted by their precision, without any network: what they
        tell of the clean image. None where they are not drawn from it, each with its own noise.
    over_guides
        ``psnr - guides_psnr``: what the network makes of them.
    noise_kept
        Part of a target's noise that is in the restoration, by regression: of the observation's, or
        of the last clean guide's. None without steps.
    loss_jump, psnr_jump
        How many times larger the change at a stage's beginning is than the usual one.
    early_sigma
        Estimated noise of the early intermediate pictures, of 255.
    brightness_gain, saturation_gain, green_gain
        Of the restoration over the clean image, in parts of the full range.
    """

    base: str
    factor: str
    level: str
    picture: str
    seed: int
    run: str
    digest: str
    saw: str
    settings: str
    steps: int
    psnr: float | None
    ssim: float | None
    input_psnr: float | None
    final_psnr: float
    final_loss: float
    best_psnr: float
    best_step: int
    best_at: float
    lost: float
    trend_drop: float
    ceiling: float | None
    guides_psnr: float | None
    over_guides: float | None
    noise_kept: float | None
    loss_jump: float | None
    psnr_jump: float | None
    early_sigma: float | None
    brightness_gain: float | None
    saturation_gain: float | None
    green_gain: float | None


_NAMES = [field.name for field in fields(Line)]
NUMBERS = tuple(_NAMES[_NAMES.index("steps") :])
