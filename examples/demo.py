"""Add noise to a picture, restore it from the noisy file alone, and say how much better it got.

The picture ships with scikit-image. The noise level is not told to the restoration, and the clean
file only scores it.
"""

import sys
from pathlib import Path

import numpy as np
from skimage import data

from guided_dip.cli import run
from guided_dip.images import Picture, from_float, to_float, write
from guided_dip.noise import add_gaussian_noise

FOLDER = Path("demo")
SIGMA = 25 / 255

FOLDER.mkdir(exist_ok=True)
clean = data.astronaut()[0:256, 96:352]
noisy = from_float(add_gaussian_noise(to_float(clean), SIGMA, seed=0), np.dtype(np.uint8))
write(FOLDER / "clean.png", Picture(clean), overwrite=True)
write(FOLDER / "noisy.png", Picture(noisy), overwrite=True)

arguments = f"restore {FOLDER}/noisy.png -o {FOLDER}/restored.png --clean {FOLDER}/clean.png"
arguments += f" --run-dir {FOLDER}/run --overwrite"
print("guided-dip", arguments, flush=True)
code = run(arguments.split())
if code == 0:
    print(f"before and after: {FOLDER / 'run' / 'comparison.png'}")
sys.exit(code)
