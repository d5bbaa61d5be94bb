"""Pages of the site whose text lies outside docs/, and links to them.

A page that is nothing but a link to a Markdown file of the project, under a comment, stands for
that file: on GitHub it leads there, on the site the text itself is shown. Links to such files,
from wherever, lead to the page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from sphinx.application import Sphinx

ONLY_A_LINK = re.compile(r"^<!--[^>]*-->\s*\[[^\]]*\]\((\.\./[^)#]+\.md)\)\s*$")
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def stand_ins(docs: Path) -> dict[str, str]:
    """Return the page that stands for each file, by its path from the root of the project."""
    found = {}
    for page in sorted(docs.glob("*.md")):
        link = ONLY_A_LINK.match(page.read_text(encoding="utf-8"))
        if link:
            found[posixpath.normpath(posixpath.join("docs", link[1]))] = page.name
    return found


def rewritten(text: str, home: str, pages: dict[str, str]) -> str:
    """Return a text whose links to files lead there from a page at the root of docs/.

    Parameters
    ----------
    text
        Of a file.
    home
        The folder it lies in, from the root of the project.
    pages
        What stands for which file.
    """

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(home, link[2]))
        page = pages.get(target)
        if page is None:
            page = posixpath.relpath(target, "docs")
            page = page if page.startswith("..") else f"/{page}"
        else:
            page = f"/{page}"
        return f"{link[1]}{page}{link[3]}"

    return LINK.sub(moved, text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the text of a file in the place of the page that stands for it."""
    docs = Path(app.srcdir)
    if not (docs / f"{docname}.md").exists():
        return
    pages = stand_ins(docs)
    home = posixpath.normpath(posixpath.join("docs", posixpath.dirname(docname)))
    for file, page in pages.items():
        if page == f"{docname}.md":
            home = posixpath.dirname(file)
            source[0] = (docs.parent / file).read_text(encoding="utf-8")
            app.env.note_dependency(docs.parent / file)
    source[0] = rewritten(source[0], home, pages)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
