"""The same restoration on the command line and in Python, for people to copy."""

from __future__ import annotations

import json
import shlex
from typing import Any

from guided_dip.jobs.beside import HALF, task_of
from guided_dip.region import parse_region
from guided_dip.web.models import JobSettings
from guided_dip.web.queue.records import Record

# Settings that are options of their own, in the order in which they are written.
OPTIONS = (
    "task",
    "noise",
    "white",
    "scale",
    "kernel",
    "effort",
    "preset",
    "strength",
    "seed",
    "page",
)


def command_of(record: Record) -> str:
    """Return the command that makes the same bytes, beside the job's files.

    Parameters
    ----------
    record
        The job's.
    """
    settings, files = record.settings, record.files
    words = ["guided-dip", "restore", files["image"].name, "-o", record.file_name]
    for name in OPTIONS:
        value = getattr(settings, name)
        if value is not None:
            words += [f"--{name}", _word(value)]
    for role in ("mask", "kernel", "gain", "clean"):
        if role in files:
            words += [f"--{role}", files[role].name]
    words += ["--invert-mask"] * settings.invert_mask + ["--joint"] * settings.joint
    if settings.region is not None:
        words += ["--region", settings.region]
    if settings.time_budget is not None:
        words += ["--time-budget", _word(settings.time_budget)]
    for name, setting in {**settings.settings, "threads": record.threads}.items():
        words += ["--set", f"{name}={json.dumps(setting)}"]
    return shlex.join(words)


def _word(value: object) -> str:
    return str(value)


def python_of(record: Record) -> str:
    """Return lines of Python that make the same pixels, beside the job's files.

    Parameters
    ----------
    record
        The job's.
    """
    keywords = _keywords(record)
    lines = [*_imports(record), "", *_beside(record)]
    if record.settings.joint:
        return "\n".join([*lines, *_of_stack(record, keywords)]) + "\n"
    output, whole = record.file_name, _whole(record)
    body = [f"picture = {_read(record)}", *_restored(record, keywords)]
    if not _one_by_one(record):
        return "\n".join([*lines, *body, f"write({output!r}, {whole})"]) + "\n"
    lines += ["pages = []", f"for page in range({record.pages}):"]
    lines += [f"    {line}" for line in [*body, f"pages.append({whole})"]]
    lines += [f"write_stack({output!r}, pages, like={record.files['image'].name!r})"]
    return "\n".join(lines) + "\n"


def _one_by_one(record: Record) -> bool:
    """Whether it is a stack whose pages are restored by themselves."""
    settings = record.settings
    return record.pages > 1 and settings.page is None and not settings.joint


def _imports(record: Record) -> list[str]:
    """Return lines that import what the others use."""
    jpeg = _task(record) == "dejpeg"
    stack = record.settings.joint or _one_by_one(record)
    names = ["read", "write_stack" if stack else "write"]
    names += ["to_float"] * bool({"mask", "kernel"} & set(record.files))
    names += ["in_units_of_white"] * ("gain" in record.files)
    names += ["white_of_file"] * _sees_a_part(record)
    names += ["upright"] * jpeg
    lines = ["from dataclasses import replace", ""]
    lines += ["import numpy as np"] * record.settings.joint + ["from PIL import Image"] * jpeg
    lines += [""] * (len(lines) > 2) + ["import guided_dip"]
    lines += [f"from guided_dip.images import {', '.join(sorted(names))}"]
    return lines + ["from guided_dip.jpeg import read_tables"] * jpeg


def _read(record: Record) -> str:
    """Return the call that reads the picture, or the page that is at hand."""
    settings = record.settings
    page = "page" if _one_by_one(record) else repr(settings.page)
    given = repr(record.files["image"].name) + f", page={page}" * (page != "None")
    given += ", nan_as_missing=True" * bool(settings.settings.get("nan_as_missing"))
    given += ", turned=False" * (_task(record) == "dejpeg")
    return f"read({given})"


def _task(record: Record) -> str | None:
    settings, files = record.settings, record.files
    given: dict[str, Any] = {"inpaint": files.get("mask"), "super-resolve": settings.scale}
    given |= {"deblur": settings.kernel or files.get("kernel"), "degain": files.get("gain")}
    return task_of(settings.task, given)


def _keywords(record: Record) -> dict[str, str]:
    """Return what `restore` is given besides the image, as it is written."""
    settings, files = record.settings, record.files
    words: dict[str, str] = {}
    task = _task(record)
    if task is not None:
        words["task"] = repr(task)
    for name in ("noise", "white", "effort", "preset", "strength", "seed"):
        if getattr(settings, name) is not None:
            words[name] = repr(getattr(settings, name))
    if _sees_a_part(record):
        words["white"] = "white"
    if settings.scale is not None:
        words["enlarge"] = repr(settings.scale)
    if settings.kernel is not None:
        words["kernel"] = repr(settings.kernel)
    words |= {role: role for role in ("mask", "kernel", "gain") if role in files}
    if task == "dejpeg":
        words["tables"] = "tables"
    if settings.time_budget is not None:
        words["time_budget"] = repr(settings.time_budget)
    words |= {name: repr(value) for name, value in settings.settings.items()}
    return words | {"threads": repr(record.threads)}


def _beside(record: Record) -> list[str]:
    """Return lines that read what is known besides the picture."""
    lines = []
    if _task(record) == "dejpeg":
        lines.append(f"with Image.open({record.files['image'].name!r}) as file:")
        lines.append("    tables = read_tables(file)")
    for role in ("mask", "kernel", "gain"):
        if role not in record.files:
            continue
        read = f"read({record.files[role].name!r}).pixels"
        if role == "gain":
            own = ", 'type'" * (_stated_white(record) == "type")
            lines.append(f"gain = in_units_of_white({read}{own})")
        else:
            lines.append(f"{role} = to_float({read})")
        if role != "gain":
            lines.append(f"{role} = {role} if {role}.ndim == 2 else {role}.mean(2)")
        if role == "mask":
            sign = "<=" if record.settings.invert_mask else ">"
            lines.append(f"mask = mask {sign} {HALF}")
    if _sees_a_part(record):
        page = "" if record.settings.page is None else f", page={record.settings.page}"
        missing = ", missing=mask" * ("mask" in record.files)
        lines.append(f"white = white_of_file({record.files['image'].name!r}{page}{missing})")
    return lines


def _stated_white(record: Record) -> object:
    """Return the white that was asked for; None if none was."""
    return record.settings.settings.get("white", record.settings.white)


def _sees_a_part(record: Record) -> bool:
    """Whether `restore` cannot find the white of all of the file, as it is given a part of it."""
    settings = record.settings
    is_part = settings.region is not None or (record.pages > 1 and not settings.joint)
    return is_part and record.bits > 8 and _stated_white(record) in (None, "auto")


def _restored(record: Record, keywords: dict[str, str]) -> list[str]:
    """Return lines that restore ``picture`` to ``pixels``."""
    region = _region(record.settings)
    pixels = f"picture.pixels[{region}]" if region else "picture.pixels"
    words = dict(keywords)
    for role in ("mask", "gain"):
        if region and role in words:
            words[role] = f"{role}[{region}]"
    lines = [f"result = guided_dip.restore({pixels}, {_written(words)})"]
    if region:
        lines += ["pixels = picture.pixels.astype(result.image.dtype)"]
        lines += [f"pixels[{region}] = result.image"]
    else:
        lines += ["pixels = result.image"]
    return lines


def _whole(record: Record) -> str:
    """Return the picture to write: with all that its file had, where the size is the same."""
    alike = _task(record) != "super-resolve" and "resize" not in record.settings.settings
    alike = alike and record.settings.preset != "author"
    changed = "replace(picture, pixels=pixels" + ")" * alike + ", alpha=None)" * (not alike)
    return f"upright({changed})" if _task(record) == "dejpeg" else changed


def _of_stack(record: Record, keywords: dict[str, str]) -> list[str]:
    """Return lines that restore all pages by one network."""
    image, output = record.files["image"].name, record.file_name
    words = {name: word for name, word in keywords.items() if name != "task"}
    return [
        f"pages = [read({image!r}, page=page) for page in range({record.pages})]",
        "stack = np.stack([page.pixels for page in pages])",
        f"result = guided_dip.restore_stack(stack, {_written(words)})",
        "pages = [replace(page, pixels=pixels) for page, pixels in zip(pages, result.image)]",
        f"write_stack({output!r}, pages, like={image!r})",
    ]


def _region(settings: JobSettings) -> str:
    if settings.region is None:
        return ""
    part = parse_region(settings.region)
    return f"{part.y}:{part.y + part.height}, {part.x}:{part.x + part.width}"


def _written(words: dict[str, str]) -> str:
    return ", ".join(f"{name}={word}" for name, word in words.items())
