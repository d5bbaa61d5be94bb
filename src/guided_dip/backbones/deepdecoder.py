"""Deep Decoder: an image from few numbers, by 1x1 convolutions and interpolation alone.

After Heckel and Hand, "Deep Decoder: Concise Image Representations from Untrained
Non-convolutional Networks", ICLR 2019. Each of five layers mixes the channels of every pixel,
doubles the size by bilinear interpolation, and is followed by a ReLU and BatchNorm; a sixth does so
without growing, and a last mixture and a sigmoid make the image. No layer looks at neighbours, and
at the defaults there are 100,224 parameters, fewer than a picture has pixels: what keeps the noise
out is that there is little room for it.
"""

from __future__ import annotations

from torch import Tensor, nn

from guided_dip.backbones.blocks import check_input, upsample, whole_number

CHANNELS = 128


class DeepDecoder(nn.Module):
    """The paper's decoder.

    Parameters
    ----------
    channels
        Channels of the output.
    in_channels
        Channels of the input.
    width
        Channels of every layer.
    scales
        Number of times the size is doubled.

    Attributes
    ----------
    multiple, minimum : int
        H and W of the input must be multiples of this, ``2**scales``.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        in_channels: int = CHANNELS,
        width: int = CHANNELS,
        scales: int = 5,
    ) -> None:
        super().__init__()
        whole_number("channels", channels)
        whole_number("width", width)
        self.in_channels = whole_number("in_channels", in_channels)
        self.multiple = self.minimum = 2 ** whole_number("scales", scales)
        entries = [in_channels, *([width] * scales)]
        self.mix = nn.ModuleList(nn.Conv2d(entry, width, 1, bias=False) for entry in entries)
        self.norm = nn.ModuleList(nn.BatchNorm2d(width) for _ in entries)
        self.head = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Map an input to an image.

        Parameters
        ----------
        z
            (B, in_channels, H, W), H and W multiples of `multiple`. The decoder begins with an
            input that is `multiple` times smaller: of `z` it takes the first pixel of each square.

        Returns
        -------
        Tensor
            (B, channels, H, W) in [0, 1].
        """
        check_input(z, self.in_channels, self.multiple, self.minimum)
        x = z[..., :: self.multiple, :: self.multiple]
        last = len(self.mix) - 1
        for number, (mix, norm) in enumerate(zip(self.mix, self.norm, strict=True)):
            x = mix(x)
            x = norm((x if number == last else upsample(x)).relu())
        image: Tensor = self.head(x).sigmoid()
        return image
