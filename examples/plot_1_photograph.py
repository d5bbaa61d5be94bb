"""
Denoise a photograph
====================

The shortest way: give :func:`~guided_dip.restoration.restore` a noisy array. It reads off how
strong the noise is, fits a network to this picture alone, and returns an array of the same shape
and type.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from guided_dip import restore
from guided_dip.metrics import psnr

clean = data.astronaut()[50:146, 170:266]
noise = np.random.default_rng(0).normal(0, 25, clean.shape)
noisy = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)

result = restore(noisy, effort="fast", steps=240)

# %%
# What it found out, and what came of it. Nobody told it the level, and it never saw the clean
# picture.

print("the noise:", result.noise)
print(f"noisy    {psnr(noisy, clean, data_range=255):.2f} dB")
print(f"restored {psnr(result.image, clean, data_range=255):.2f} dB, {result.image.dtype}")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
shown = {"noisy": noisy, "restored": result.image, "the clean picture": clean}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(pixels, interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")

# %%
# What was taken away should look like noise: no edge, no outline. Where the outputs that the
# result averages differ most, it is least sure.

taken = noisy.astype(float) - result.image
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), layout="constrained")
axes[0].imshow(np.clip(0.5 + taken / 150, 0, 1), interpolation="nearest")
axes[0].set_title("taken away")
axes[1].imshow(result.spread.mean(-1), cmap="magma", interpolation="nearest")
axes[1].set_title("spread of the outputs")
for ax in axes:
    ax.axis("off")
