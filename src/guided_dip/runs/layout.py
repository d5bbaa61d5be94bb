"""Names of the files in a run folder."""

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
PICTURES = "pictures"
DRAFT = ".partial"

# In PICTURES
INPUT = "input.png"
CLEAN = "clean.png"

# Drawn from the others
CURVES = "curves.png"
PROCESS = "process.png"
COMPARISON = "comparison.png"
FIGURES = (CURVES, PROCESS, COMPARISON)

RESTORED = {
    "PNG": "restored.png",
    "JPEG": "restored.jpg",
    "TIFF": "restored.tif",
    "WebP": "restored.webp",
    "BMP": "restored.bmp",
}
