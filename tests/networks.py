"""Networks of one's own, for tests: found as ``networks:NAME``."""

from torch import Tensor, nn


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
