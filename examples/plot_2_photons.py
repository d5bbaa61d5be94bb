"""
Microscopy: counted light
=========================

A detector that counts photons has more noise where there is more light. ``noise="poisson:60"``
says that white is 60 photons; left out, it is found from how the variance grows with the
brightness.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from guided_dip import restore
from guided_dip.metrics import psnr

PEAK = 60  # photons at white
stained = data.immunohistochemistry()[100:196, 120:216, 1].astype(np.float32) / 255
clean = np.clip(1.5 * (0.8 - stained), 0, 1)  # as if the stain were what shines
counts = np.random.default_rng(0).poisson(PEAK * clean)
noisy = (counts / PEAK).astype(np.float32)

result = restore(noisy, noise=f"poisson:{PEAK}", effort="fast", steps=240)

print("the noise:", result.noise)
print(f"noisy    {psnr(noisy, clean, data_range=1):.2f} dB")
print(f"restored {psnr(result.image, clean, data_range=1):.2f} dB")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
shown = {"counts": noisy, "restored": result.image, "without noise": clean}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")

# %%
# The noise along one row: as strong as the root of the light.

figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
row = 48
ax.plot(noisy[row], lw=0.7, color="0.6", label="counts")
ax.plot(result.image[row], color="#17606b", label="restored")
ax.plot(clean[row], lw=1, ls="--", color="#b3541e", label="without noise")
ax.set(xlabel="column", ylabel="light, white is 1")
ax.legend(frameon=False, ncols=3, fontsize=8)
