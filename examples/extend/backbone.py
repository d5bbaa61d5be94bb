"""A backbone of your own: a small residual network, `--backbone backbone:residual`."""

from torch import Tensor, nn


class Residual(nn.Module):
    """Adds to the image what a few convolutions make of its input.

    Heights and widths have to be multiples of `multiple`; the program pads and crops.
    """

    multiple = 1

    def __init__(self, channels: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1)]
        for _ in range(3):
            layers += [nn.LeakyReLU(0.1), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(0.1))
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, C, H, W)."""
        return x[:, : self.channels] + self.head(self.body(x))


def residual(channels: int, in_channels: int, width: int = 32) -> nn.Module:
    """Build it: called with the image's channels; further keywords are `backbone_options`."""
    return Residual(channels, in_channels, width)
