"""
Fill in what a mask leaves out
==============================

Letters, scratches, dead pixels: give an array that is true where pixels are missing. Known pixels
come back exactly as they were.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from guided_dip import restore
from guided_dip.metrics import psnr

clean = data.coffee()[100:196, 240:336]
letters = data.text()[20:116, 60:156] < 90  # a scanned page, laid over the picture
scattered = np.random.default_rng(0).random(letters.shape) < 0.1
missing = letters | scattered
damaged = np.where(missing[..., None], 255, clean).astype(np.uint8)

result = restore(damaged, mask=missing, effort="fast", steps=240)

assert np.array_equal(result.image[~missing], clean[~missing])
print(f"{missing.mean():.0%} of the pixels are missing")
print(f"restored {psnr(result.image, clean, data_range=255):.2f} dB")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
shown = {"damaged": damaged, "filled in": result.image, "the original": clean}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(pixels, interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")
