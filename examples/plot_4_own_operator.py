"""
Your own forward operator
=========================

Any linear function of a tensor can be undone: here a camera that moved by a column while it
exposed, and whose sensor has lost half of its pixels. The operator's adjoint is found by
automatic differentiation.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data

from guided_dip import restore
from guided_dip.metrics import psnr

clean = data.chelsea()[60:140, 140:220].astype(np.float32) / 255
alive = torch.from_numpy(np.random.default_rng(0).random(clean.shape[:2]) < 0.5)


def camera(image):
    """Map (1, C, H, W) to what is measured of it."""
    return 0.5 * (image + image.roll(1, -1)) * alive


x = torch.from_numpy(clean).permute(2, 0, 1)[None]
y = camera(x)[0].permute(1, 2, 0).numpy()
y = y + np.random.default_rng(1).normal(0, 3 / 255, y.shape).astype(np.float32)

# %%
# The noise has to be stated, in the measurement's values. An operator whose measurement has another
# shape than the image is told that of the image, ``image_shape=(H, W, C)``.

result = restore(y, operator=camera, noise="gaussian:3", effort="fast", steps=200)
print(f"restored {psnr(result.image, clean, data_range=1):.2f} dB")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
shown = {"the measurement": y, "restored": result.image, "the original": clean}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(np.clip(pixels, 0, 1), interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")
