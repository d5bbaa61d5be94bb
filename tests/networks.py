"""Networks for tests: small ones of the project's, and ones of one's own (``networks:NAME``)."""

from torch import Tensor, nn

SMALL = {  # options of the project's
    "unet": {"widths": [4, 8, 12], "skip_levels": [2], "skip_channels": 2},
    "segnet": {"widths": [4, 6]},
    "skip": {"width": 6, "scales": 2},
    "deep-decoder": {"width": 8, "scales": 2},
    "normfree": {"width": 6, "scales": 2},
}


class Dropping(nn.Module):
    """Draws PyTorch's random numbers in training."""

    def __init__(self, channels: int, in_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(8, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
