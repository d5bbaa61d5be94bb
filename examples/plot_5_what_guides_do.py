"""
What DIP does, and what guides do
=================================

Both see the same noisy picture and nothing else. Plain Deep Image Prior is fitted to it, passes
its best moment, and goes on to the noise. With recorrupted guides the end is fine. Its curve ends
a little below its result, which is a mean of sixteen outputs.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from guided_dip import restore

clean = data.astronaut()[50:130, 178:258].astype(np.float32) / 255
noisy = clean + np.random.default_rng(0).normal(0, 50 / 255, clean.shape).astype(np.float32)
asked = {"noise": "gaussian:50", "clean": clean, "seed": 0}  # the clean picture only scores

small = {"width": 24, "scales": 3}
plain = {"supervision": "observation", "backbone": "skip", "backbone_options": small}
dip = restore(noisy, steps=500, **plain, **asked)
ours = restore(noisy, effort="fast", steps=200, patch=0, **asked)

# %%
# The best of DIP is an oracle's figure: it takes the clean picture to see it.

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for result, label in ((dip, "plain DIP"), (ours, "Guided-DIP, recorrupted guides")):
    values = np.array([record.psnr for record in result.records])
    ax.plot(np.linspace(0, 100, len(values)), values, lw=1.2, label=label)
    print(f"{label}: best {values.max():.2f} dB, last {values[-1]:.2f}")
    print(f"    its result: {result.scores.psnr:.2f} dB")
ax.set(xlabel="share of the run, %", ylabel="PSNR, dB", ylim=(10, None))
ax.legend(frameon=False)

# %%

figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
shown = {"noisy": noisy, "DIP": dip.image, "Guided-DIP": ours.image, "clean": clean}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(np.clip(pixels, 0, 1), interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")

# %%
# The plan that was carried out, most noisy guide first.

for stage in ours.plan.stages:
    print(f"t = {stage.t}, strength {stage.a:.2f}: {stage.steps} steps")
