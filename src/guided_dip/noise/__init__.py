"""Noise: its models, and how to estimate one from a noisy picture."""

from guided_dip.noise.estimate import estimate_noise, estimate_sigma, read_whiteness
from guided_dip.noise.model import (
    LEAST_SIGMA,
    NoiseKind,
    NoiseModel,
    add_gaussian_noise,
    add_noise,
    parse_noise,
)

__all__ = [
    "LEAST_SIGMA",
    "NoiseKind",
    "NoiseModel",
    "add_gaussian_noise",
    "add_noise",
    "estimate_noise",
    "estimate_sigma",
    "parse_noise",
    "read_whiteness",
]
