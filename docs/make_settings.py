"""Write docs/settings.md from the config's own field descriptions.

python docs/make_settings.py
"""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from guided_dip.config import EFFORTS, MEASURED_BY, PRESETS, Config, fill_in, make_config

PAGE = Path(__file__).with_name("settings.md")
INTRO = """\
# Settings

Every setting of a restoration: `guided-dip restore --set name=value`, a line `name: value` of a
`--config` file, or a keyword of `guided_dip.restore()`. Written by `docs/make_settings.py` from the
program itself.

"""


def choices(annotation: Any) -> str:
    """Return the values of a setting that has a closed list of them."""
    values = get_args(annotation) if get_origin(annotation) is Literal else ()
    return f" ({', '.join(f'`{value}`' for value in values)})" if values else ""


def settings() -> str:
    """Return the table of settings."""
    lines = ["| name | default | what it does |", "|---|---|---|"]
    for name, field in Config.model_fields.items():
        described = f"{field.description}{choices(field.annotation)}"
        lines.append(f"| `{name}` | {shown(field.default)} | {described} |")
    return "\n".join(lines)


def efforts() -> str:
    """Return the table of what an effort fills in, at 256 x 256 pixels."""
    lines = [
        "| effort | steps at 256x256 | 1024x1024, squares | network | PSNR, sigma 25 | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, effort in EFFORTS.items():
        config = make_config({"effort": name})
        small = fill_in(config, size=(256, 256))
        large = fill_in(config, size=(1024, 1024))
        network = ", ".join(
            f"{key} {value}" for key, value in (small.backbone_options or {}).items()
        )
        psnr = "not measured" if effort.psnr is None else f"{effort.psnr:.2f} dB"
        cells = [f"`{name}`", small.steps, large.steps, network, psnr, effort.seconds or ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"PSNR: mean of Kodak's twelve 256x256 crops by `{MEASURED_BY} EFFORT`, the level told;",
        "seconds: the median crop's, on one thread of a busy machine.",
    ]
    return "\n".join(lines)


def presets() -> str:
    """Return the table of what the report's presets change."""
    names = ("report", "author")
    keys = [key for key in Config.model_fields if any(key in PRESETS[name] for name in names)]
    lines = ["| setting | `report` | `author` |", "|---|---|---|"]
    for key in keys:
        values = [shown(getattr(make_config(preset=name), key)) for name in names]
        lines.append(f"| `{key}` | {' | '.join(values)} |")
    return "\n".join(lines)


def shown(value: Any) -> str:
    """Return a value as the page has it."""
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            INTRO + settings(),
            "\nAn empty default follows from the image, the effort or the machine. With",
            "a supervision that feeds the network with z, the defaults are plain DIP's: 1800",
            "steps, Adam at 1e-2, no flips and turns.\n",
            "## What an effort fills in\n",
            efforts(),
            "\n## What the report's presets set\n",
            presets(),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
