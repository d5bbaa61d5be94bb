"""The folder of a study: whether it may hold one, what it holds, and the page in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from guided_dip.errors import InputError
from guided_dip.experiments.document import Document, to_html, to_markdown
from guided_dip.files import LOCK, write_whole

FIGURES, RESULTS = "figures", "results.json"

Model = TypeVar("Model", bound=BaseModel)


def holds(folder: Path, file: str) -> bool:
    """Tell whether a folder has a study in it already.

    Parameters
    ----------
    folder
        Not there yet, empty, or with a study.
    file
        That says what a study is.

    Raises
    ------
    InputError
        If it can have none.
    """
    if not folder.exists():
        if not folder.parent.is_dir():
            raise InputError(f"{folder}: there is no folder '{folder.parent}'; try creating it")
        return False
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; try another name")
    if (folder / file).exists():
        return True
    if any(path.name != LOCK for path in folder.iterdir()):
        raise InputError(f"{folder}: holds other files; try an empty folder")
    return False


def read_back(folder: Path, file: str, model: type[Model], what: str) -> Model:
    """Read what a study is.

    Parameters
    ----------
    folder
        Of the study.
    file
        That says so.
    model
        What it is read as.
    what
        A word for it, such as ``"benchmark"``.

    Raises
    ------
    InputError
        If it is not there, or damaged.
    """
    try:
        return model.model_validate_json((folder / file).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{folder}: holds no {what}, as it has no {file}") from None
    except (ValidationError, ValueError):
        raise InputError(f"{folder / file}: damaged; try running the {what} again") from None


def write_page(folder: Path, name: str, document: Document, results: dict[str, Any]) -> None:
    """Write a page into a study's folder, with its figures beside it, anew.

    Parameters
    ----------
    folder
        Of the study.
    name
        Of the page, without a suffix.
    document
        The page.
    results
        What it says, for programs.
    """
    drawn = folder / f".{FIGURES}"
    shutil.rmtree(drawn, ignore_errors=True)
    drawn.mkdir()
    for picture in document.pictures:
        (drawn / picture.name).write_bytes(picture.data)
    shutil.rmtree(folder / FIGURES, ignore_errors=True)
    drawn.replace(folder / FIGURES)
    write_whole(folder / f"{name}.md", to_markdown(document, FIGURES))
    write_whole(folder / f"{name}.html", to_html(document))
    write_whole(folder / RESULTS, json.dumps(results, indent=1) + "\n")
