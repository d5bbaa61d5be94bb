"""What the site's contents are made of, but for what docs/index.md lists.

A folder's README is the head of its pages: they follow it. Pages beside the index that it does not
list come at the end, so that none is left out.

On GitHub a list of contents would be shown as a block of code, so it is added when the site is
built, in the order in which the README leads to them.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx


def below(page: Path, text: str) -> list[str]:
    """Return the pages beneath a README, those first that it leads to."""
    inner = {path.relative_to(page.parent).as_posix() for path in page.parent.rglob("*.md")}
    inner.discard(page.name)
    linked = [link for link in re.findall(r"\]\(([^)#]+\.md)", text) if link in inner]
    return list(dict.fromkeys([*linked, *sorted(inner)]))


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the contents."""
    page = Path(app.srcdir) / f"{docname}.md"
    if page.name == "README.md":
        source[0] += contents(below(page, source[0]))
    elif docname == app.config.root_doc:
        listed = re.findall(r"^(?:.*<)?([\w/-]+)>?$", source[0], re.MULTILINE)
        names = {path.stem for path in page.parent.glob("*.md")} - {*listed, page.stem}
        source[0] += contents(sorted(names), ":caption: More") if names else ""


def contents(names: list[str], *options: str) -> str:
    """Return a list of contents that only the sidebar shows."""
    return "\n".join(["\n```{toctree}", ":hidden:", *options, "", *names, "```", ""])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    # Before links are rewritten.
    app.connect("source-read", read, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
