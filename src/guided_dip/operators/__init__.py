"""Forward operators A: what a measurement does to an image.

The fit compares ``A(output)`` with a target in the measurement's space. Each operator here is
linear and has its adjoint; any other callable may be given one (`from_callable`).
"""

from guided_dip.operators.base import (
    Identity,
    Operator,
    Weighted,
    from_callable,
    identity,
)
from guided_dip.operators.blur import Blur, gaussian_kernel, motion_kernel, parse_kernel
from guided_dip.operators.inversion import inverted, solved, squared_norm
from guided_dip.operators.pixels import Gain, Mask
from guided_dip.operators.resample import Downsample, agreeing, enlarged, resampled

__all__ = [
    "Blur",
    "Downsample",
    "Gain",
    "Identity",
    "Mask",
    "Operator",
    "Weighted",
    "agreeing",
    "enlarged",
    "from_callable",
    "gaussian_kernel",
    "identity",
    "inverted",
    "motion_kernel",
    "parse_kernel",
    "resampled",
    "solved",
    "squared_norm",
]
