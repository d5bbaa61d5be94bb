"""Write docs/licences.md: under which licences what guided-dip needs may be used.

python docs/make_licences.py
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).with_name("licences.md")
EXTRAS = ("fits", "napari", "ray", "slurm", "web")
PERMISSIVE = {"Apache", "BSD", "HPND", "ISC", "MIT", "PSF", "Unlicense", "Zlib", "CC0"}
# What asks for more than its notice to be kept, where it is passed on.
OTHERS = {
    "GPL": "who passes it on with a program of their own has to put that under the GPL, too",
    "LGPL": "who passes it on has to let others exchange it",
    "MPL": "changes to its own files have to be published where they are passed on",
}
INTRO = """\
# Licences of dependencies

Guided-DIP itself is under the MIT licence. Nothing of what it depends on is part of its files:
`pip` fetches it. Written by `docs/make_licences.py` from what the packages say of themselves; in
brackets, the extra that needs them. Wheels of NumPy, SciPy, PyTorch, Pillow and imagecodecs bring
libraries of others along, whose licences they hold.

"""
NAMES = (
    (r"\bLGPL|Lesser General", "LGPL"),
    (r"\bGPL|General Public", "GPL"),
    (r"\bMPL|Mozilla", "MPL"),
    (r"Apache", "Apache"),
    (r"\bMIT\b", "MIT"),
    (r"\bBSD\b|3-Clause|Redistribution and use in source and binary", "BSD"),
    (r"\bISC\b", "ISC"),
    (r"HPND|Historical", "HPND"),
    (r"\bPSF|Python-2.0|Python Software Foundation", "PSF"),
    (r"Unlicense", "Unlicense"),
    (r"\bzlib", "Zlib"),
    (r"CC0", "CC0"),
)


def plain(name: str) -> str:
    """Return a distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(name: str) -> tuple[str, ...]:
    """Return the licences that a distribution names, all that it may be under."""
    about = metadata.metadata(name)
    classified = [
        line.rpartition("::")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    said = about.get("License-Expression") or " ; ".join(classified) or about.get("License") or ""
    if not about.get("License-Expression") and not classified:
        said = said[:200]
    found = [short for pattern, short in NAMES if re.search(pattern, said, re.IGNORECASE)]
    if "GPL" in found and "LGPL" in found:
        found.remove("GPL")
    return tuple(sorted(found)) or ("unknown",)


def needed(name: str, extra: str = "") -> Iterator[str]:
    """Yield what a distribution, or one of its extras, needs, as far as it is installed."""
    todo = [Requirement(f"{name}[{extra}]" if extra else name)]
    seen = set()
    while todo:
        asked = todo.pop()
        key = (plain(asked.name), tuple(sorted(asked.extras)))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = metadata.distribution(asked.name)
        except metadata.PackageNotFoundError:
            continue
        if plain(asked.name) != plain(name):
            yield plain(asked.name)
        for line in found.requires or []:
            other = Requirement(line)
            if other.marker is None or any(
                other.marker.evaluate({"extra": each}) for each in (asked.extras or {""})
            ):
                todo.append(other)


def listed() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the extra that needs it and the licences, by name of what is needed."""
    names = dict.fromkeys(needed("guided-dip"), "")
    for extra in EXTRAS:
        for name in needed("guided-dip", extra):
            names.setdefault(name, extra)
    return {name: (extra, licence(name)) for name, extra in sorted(names.items())}


def page() -> str:
    """Return the whole page."""
    rows = listed()
    lines = ["| licence | packages |", "|---|---|"]
    kinds = sorted({licences for _, licences in rows.values()})
    for kind in kinds:
        names = [
            name + (f" ({extra})" if extra else "")
            for name, (extra, licences) in rows.items()
            if licences == kind
        ]
        lines.append(f"| {' / '.join(kind)} | {', '.join(names)} |")
    lines += ["", "## What is not permissive", ""]
    for kind, what in OTHERS.items():
        names = [name for name, (_, found) in rows.items() if kind in found]
        if names:
            lines.append(f"- {kind}: {what}. {', '.join(names)}.")
    lines += [
        "",
        "PyQt6 is for the extra `napari` only, which runs with PySide6 (LGPL) as well: install",
        "`napari[pyside6]` instead. BM3D, which `guided-dip benchmark` compares with where a user",
        "has installed it, is for non-commercial use, and no dependency.",
        "",
    ]
    return INTRO + "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
