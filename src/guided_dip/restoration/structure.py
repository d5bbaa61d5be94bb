"""What goes on across wide holes: lines and edges, which a small convolutional network continues.

What is filled in smoothly ends at a hole's rim. A network fitted to the known pixels alone, plain
DIP (Ulyanov et al., CVPR 2018), continues through a hole what leads to it, if the hole is not many
times wider than what it looks at. So it is shown the picture made smaller: its output there is what
the fit begins with, and adds detail to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional as F

from guided_dip.config import Config, make_config
from guided_dip.engine import to_array, to_tensor
from guided_dip.filling import wide_part
from guided_dip.restoration.known import Known
from guided_dip.result import Record

if TYPE_CHECKING:
    from guided_dip.restoration.run import Restoration

PIXELS = 20_000  # of the picture made smaller, at most
ENOUGH = 0.5  # known share of a smaller pixel that counts as known
# Width and steps of the network that looks across, by effort. With 32 and 600 a hole of 50 x 80
# pixels in a picture of 320 x 320 became a blur; with 64 and 1200 a column went on in it.
WORK = {"fast": (48, 800), "balanced": (64, 1200), "best": (64, 2400)}


@dataclass(frozen=True)
class Coarse:
    """A picture made smaller, in whose holes it is seen what goes on across them.

    Attributes
    ----------
    fit
        To its known pixels, ready to run.
    factor
        How many times smaller it is.
    like : (1, C, H, W)
        The picture itself.
    """

    fit: Restoration
    factor: int
    like: Tensor

    def look(self, on_step: Callable[[Record], None] | None = None) -> Tensor:
        """Return what is seen: (1, C, H, W), without fine detail.

        Parameters
        ----------
        on_step
            Called with the record of each step.
        """
        found = to_tensor(self.fit.run(on_step).image, self.like.device)
        larger = F.interpolate(found, scale_factor=self.factor, mode="bicubic", align_corners=False)
        height, width = self.like.shape[-2:]
        return larger[..., :height, :width]


def coarse_of(image: Tensor, known: Tensor, config: Config) -> Coarse | None:
    """Make a picture with wide holes smaller; None if it has none.

    Parameters
    ----------
    image : (1, C, H, W)
        Whatever is in its missing pixels is of no account.
    known : (1, 1, H, W)
        1 where a pixel was measured, 0 where it is missing.
    config
        Of the restoration, of which effort, seed and machine go for this, too.
    """
    from guided_dip.restoration.prepare import prepare  # which prepares what asks for this

    if not wide_part(1 - known).any():
        return None
    factor = max(1, math.ceil(math.sqrt(known.numel() / PIXELS)))
    share = _smaller(known, factor)
    holes = to_array(share)[..., 0] < ENOUGH
    if not holes.any() or holes.all():
        return None
    small = _smaller(image * known, factor) / share.clamp_min(1e-6)
    width, steps = WORK[config.effort]
    settings: dict[str, Any] = {
        "task": "inpaint",
        "supervision": "observation",
        "backbone": "skip",
        "backbone_options": {"width": width, "scales": 5, "skip_channels": 0},
        "steps": steps,
    }
    machine = {name: getattr(config, name) for name in ("device", "threads", "precision", "seed")}
    fit = prepare(to_array(small), make_config(settings | machine), Known(mask=holes))
    return Coarse(fit, factor, image)


def _smaller(image: Tensor, factor: int) -> Tensor:
    """Return the means of squares of an image, which is continued to whole ones at its ends."""
    height, width = image.shape[-2:]
    beyond = (0, -width % factor, 0, -height % factor)
    return F.avg_pool2d(F.pad(image, beyond, mode="replicate"), factor)
