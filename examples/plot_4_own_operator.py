"""
Your own forward operator
=========================

Any linear function of a tensor can be undone: here a camera whose sensor adds up pairs of rows,
one of which is shifted. Its adjoint is found by automatic differentiation.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data

from guided_dip import restore
from guided_dip.metrics import psnr


def camera(image):
    """Give half of the rows of (1, C, H, W): the mean of a row and the next one, shifted."""
    shifted = torch.roll(image[..., 1::2, :], 3, dims=-1)
    return 0.5 * (image[..., ::2, :] + shifted)


clean = data.chelsea()[60:140, 140:220].astype(np.float32) / 255
x = torch.from_numpy(clean).permute(2, 0, 1)[None]
y = camera(x)[0].permute(1, 2, 0).numpy()
y = y + np.random.default_rng(0).normal(0, 3 / 255, y.shape).astype(np.float32)

# %%
# The noise has to be stated, in the measurement's values; ``image_shape`` says what the operator
# takes.

result = restore(
    y, operator=camera, noise="gaussian:3", image_shape=clean.shape, effort="fast", steps=200
)
print(f"restored {psnr(result.image, clean, data_range=1):.2f} dB")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
shown = {"the measurement": y, "restored": result.image, "the original": clean}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(np.clip(pixels, 0, 1), interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")
