"""Names of the files in a run folder."""

from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
PICTURES = "pictures"
ESTIMATE = "estimate"  # of an interrupted run, with the picture's own suffix

# A run that is not finished
DRAFT = ".partial"
FRESH = ".partial.new"  # before all that a draft begins with is in it
BEGUN = "begun.json"
CHECKPOINT = "checkpoint.pt"
PREVIEW = "preview.png"

# In PICTURES; the first three from the run's beginning, where they were given
MASK = "mask.png"
KERNEL = "kernel.tif"
GAIN = "gain.tif"
INPUT = "input.png"
CLEAN = "clean.png"
RESIDUAL = "residual.tif"
SPREAD = "spread.tif"

# Drawn from the others
CURVES = "curves.png"
PROCESS = "process.png"
COMPARISON = "comparison.png"
DIAGNOSIS = "diagnosis.png"
FIGURES = (CURVES, PROCESS, COMPARISON, DIAGNOSIS)

RESTORED = {
    "PNG": "restored.png",
    "JPEG": "restored.jpg",
    "TIFF": "restored.tif",
    "WebP": "restored.webp",
    "BMP": "restored.bmp",
    "FITS": "restored.fits",
}


def restored_files(folder: Path) -> list[Path]:
    """Return the restored pictures in a run folder: one, if its run is finished."""
    return [folder / name for name in RESTORED.values() if (folder / name).exists()]
