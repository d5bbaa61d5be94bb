"""Make the pictures of docs/tasks: `python docs/make_tasks.py` (some minutes on two cores).

Each shows what the program was given, what it made of it, and the original, which it never saw.
The originals ship with scikit-image and are free to use.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from guided_dip.operators import Blur, Downsample, parse_kernel

FOLDER = Path(__file__).parent / "tasks"
SIDE, GAP = 256, 8
Pixels = NDArray[np.uint8]


def crop(name: str, top: int, left: int, side: int = SIDE) -> Pixels:
    """Cut a square out of one of scikit-image's pictures."""
    return np.ascontiguousarray(getattr(data, name)()[top : top + side, left : left + side])


def saved(array: NDArray[np.floating], path: Path) -> Pixels:
    """Write an array, 1.0 is white, as an 8-bit picture, and return its pixels."""
    pixels = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def restore(picture: str, *options: str, folder: Path) -> tuple[Pixels, str]:
    """Run the command on a picture in a folder."""
    words = [sys.executable, "-m", "guided_dip", "restore", picture, "-o", "restored.png"]
    words += ["--overwrite", "--clean", "clean.png", "--effort", "fast", *options]
    done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    return np.asarray(Image.open(folder / "restored.png")), done.stdout.strip()


def side_by_side(name: str, *pictures: Pixels) -> None:
    """Draw pictures beside each other, all as large as the last."""
    height, width = pictures[-1].shape[:2]
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for k, picture in enumerate(pictures):
        image = Image.fromarray(picture).convert("RGB")
        image = image.resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(image, (k * (width + GAP), 0))
    sheet.save(FOLDER / f"{name}.png", optimize=True)


def filled_in(name: str, folder: Path, clean: Pixels, mask: Image.Image, value: int) -> str:
    """Put a value where a mask is white, have that filled in, and draw both."""
    mask.save(folder / "mask.png")
    Image.fromarray(clean).save(folder / "clean.png")
    missing = np.asarray(mask) > 127
    damaged = np.where(missing[..., None], value, clean).astype(np.uint8)
    Image.fromarray(damaged).save(folder / "damaged.png")
    restored, said = restore("damaged.png", "--mask", "mask.png", folder=folder)
    side_by_side(name, damaged, restored, clean)
    return said


def inpaint(folder: Path) -> str:
    """Write letters, a scratch and a spot on a picture."""
    clean = crop("astronaut", 0, 96)
    mask = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(mask)
    font = ImageFont.load_default(size=22)
    for line, top in enumerate(range(20, SIDE, 56)):
        draw.text((10 + 30 * (line % 2), top), "words across a picture", fill=255, font=font)
    draw.line((0, 40, 255, 214), fill=255, width=3)
    draw.ellipse((196, 150, 216, 170), fill=255)
    return filled_in("inpaint", folder, clean, mask, 255)


def hole(folder: Path) -> str:
    """Cut wide holes into a picture."""
    clean = crop("coffee", 60, 180)
    mask = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(mask)
    draw.ellipse((150, 56, 206, 112), fill=255)
    draw.rectangle((30, 0, 58, 255), fill=255)
    return filled_in("hole", folder, clean, mask, 255)


def half(folder: Path) -> str:
    """Leave out half of the pixels."""
    clean = crop("coffee", 60, 180)
    missing = np.random.default_rng(0).random((SIDE, SIDE)) < 0.5
    return filled_in("half", folder, clean, Image.fromarray(np.uint8(255 * missing)), 0)


def super_resolve(folder: Path) -> str:
    """Make a picture a quarter as wide."""
    clean = crop("chelsea", 20, 80)
    Image.fromarray(clean).save(folder / "clean.png")
    x = torch.from_numpy(clean / 255).permute(2, 0, 1)[None]
    small = Downsample(4, "lanczos")(x)[0].permute(1, 2, 0).numpy()
    pixels = saved(small, folder / "small.png")
    restored, said = restore("small.png", "--scale", "4", folder=folder)
    size = (SIDE, SIDE)
    bicubic = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    side_by_side("super-resolve", pixels, bicubic, restored, clean)
    return said


def deblur(folder: Path) -> str:
    """Move the camera, and add some noise."""
    blur = Blur(parse_kernel("motion:15,30"))
    down, across = blur.reach
    whole = data.camera()[40 : 40 + SIDE + 2 * down, 120 : 120 + SIDE + 2 * across]
    clean = np.ascontiguousarray(whole[down : down + SIDE, across : across + SIDE])
    Image.fromarray(clean).save(folder / "clean.png")
    y = blur(torch.from_numpy(whole / 255)[None, None])[0, 0].numpy()
    noise = np.random.default_rng(0).standard_normal(y.shape) * 2 / 255
    given = saved(y + noise, folder / "moved.png")
    restored, said = restore("moved.png", "--kernel", "motion:15,30", folder=folder)
    side_by_side("deblur", given, restored, clean)
    return said


def dejpeg(folder: Path) -> str:
    """Save a JPEG of quality 10."""
    clean = crop("astronaut", 0, 96)
    Image.fromarray(clean).save(folder / "clean.png")
    Image.fromarray(clean).save(folder / "coarse.jpg", quality=10)
    given = np.asarray(Image.open(folder / "coarse.jpg"))
    restored, said = restore("coarse.jpg", "--task", "dejpeg", folder=folder)
    side_by_side("dejpeg", given, restored, clean)
    return said


def gain(folder: Path) -> str:
    """Give the corners less light, and as much noise."""
    clean = crop("chelsea", 20, 80)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    flat = 1 - 0.4 * (x**2 + y**2)
    Image.fromarray(np.rint(flat * 65535).astype(np.uint16)).save(folder / "flat.png")
    Image.fromarray(clean).save(folder / "clean.png")
    noise = np.random.default_rng(0).standard_normal(clean.shape) * 6 / 255
    given = saved(clean / 255 * flat[..., None] + noise, folder / "dark.png")
    restored, said = restore("dark.png", "--gain", "flat.png", folder=folder)
    side_by_side("gain", given, restored, clean)
    return said


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for make in (inpaint, hole, half, super_resolve, deblur, dejpeg, gain):
        if not wanted or make.__name__ in wanted:
            with tempfile.TemporaryDirectory() as place:
                print(f"{make.__name__}: {make(Path(place))}", flush=True)
