"""The site builds offline, without a warning, and what comes out asks nothing of anybody."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urldefrag

import pytest

import guided_dip

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NOWHERE = "http://127.0.0.1:9"  # the port at which everything is thrown away: none answers

# What a browser fetches by itself when it shows a page.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc\s*=\s*[\"']([^\"']+)"
    r"|<link\b(?=[^>]*rel\s*=\s*[\"'](?:stylesheet|icon|preload|preconnect|shortcut icon)\b)"
    r"[^>]*?\bhref\s*=\s*[\"']([^\"']+)"
    r"|url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)",
    re.IGNORECASE,
)


def without_network() -> list[str]:
    """Return the words before a command that take the network from it, where the system can."""
    words = ["unshare", "--map-root-user", "--net"]
    if shutil.which(words[0]) is None:
        return []
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site from a copy of what it is made of."""
    place = tmp_path_factory.mktemp("site")
    for name in ("docs", "examples", "benchmarks"):
        made = shutil.ignore_patterns("gallery", "__pycache__")
        shutil.copytree(ROOT / name, place / name, ignore=made)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, place)
    shutil.copy(ROOT / "LICENSE", place)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    env["PYTHONPATH"] = str(Path(guided_dip.__file__).parent.parent)
    env |= {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE}
    words = [*without_network(), sys.executable, "-m", "sphinx", "--fail-on-warning"]
    words += ["--keep-going", "--nitpicky", "--quiet", "docs", "site"]
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    assert not done.stderr.strip()
    return place / "site"


def test_every_page_is_there(site):
    for page in DOCS.rglob("*.md"):
        built = site / page.relative_to(DOCS).with_suffix(".html")
        assert built.exists(), f"{built.name} was not built"
    assert (site / "api" / "restoration.html").exists()
    assert "Restore one noisy image." in (site / "api" / "restoration.html").read_text()


def test_the_gallery_was_run(site):
    for example in (ROOT / "examples").glob("plot_*.py"):
        page = (site / "gallery" / f"{example.stem}.html").read_text(encoding="utf-8")
        drawn = re.search(r"_images/sphx_glr_\w+_001\.(png|svg)", page)
        assert drawn, f"{example.stem} drew nothing"
    assert " dB" in (site / "gallery" / "plot_1_photograph.html").read_text(encoding="utf-8")


def test_nothing_is_fetched_from_elsewhere(site):
    for file in [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.js")]:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".js":
            # Scripts that name an address may show it; none may call one.
            assert not re.search(r"(?:fetch|import|open)\(\s*[\"'`]https?:", text), file.name
            continue
        for found in FETCHED.findall(text):
            target = "".join(found)
            own = target.startswith(("data:", "#")) or "//" not in target
            assert own, f"{file.relative_to(site)} fetches {target}"


def test_links_between_pages_lead_somewhere(site):
    anchors: dict[Path, set[str]] = {}

    def names(page: Path) -> set[str]:
        if page not in anchors:
            text = page.read_text(encoding="utf-8")
            anchors[page] = set(re.findall(r"\b(?:id|name)=[\"']([^\"']+)", text))
        return anchors[page]

    # Pages that the project's own commands draw are tested where they are drawn.
    pages = [page for page in site.rglob("*.html") if "_downloads" not in page.parts]
    for page in pages:
        for link in re.findall(
            r"<a\b[^>]*?\bhref=[\"']([^\"']+)", page.read_text(encoding="utf-8")
        ):
            if "://" in link or link.startswith(("mailto:", "data:")):
                continue
            target, anchor = urldefrag(link)
            there = (page.parent / target).resolve() if target else page
            assert there.exists(), f"{page.relative_to(site)} links to {link}"
            if anchor and there.suffix == ".html" and "_downloads" not in there.parts:
                assert anchor in names(there), f"{page.relative_to(site)} links to {link}"


def test_every_room_is_in_the_reference(site):
    sys.path.insert(0, str(DOCS / "_extensions"))
    try:
        from rooms import rooms
    finally:
        sys.path.pop(0)
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(\w+)$", index, re.MULTILINE))
    assert listed == set(rooms())
