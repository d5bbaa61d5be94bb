"""The pages say what the program does."""

import importlib.util
import json
import re
import statistics
from pathlib import Path

import pytest

from guided_dip.config import EFFORTS
from guided_dip.experiments.ablation.design import load_ablation
from guided_dip.experiments.ablation.page import as_dict
from guided_dip.experiments.ablation.runs import STUDY, load_study
from guided_dip.experiments.ablation.table import CURVES, TABLE, load
from guided_dip.experiments.benchmark_records import read_records
from guided_dip.experiments.place import RESULTS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "LOG.md", "CHANGELOG.md")]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "RESULTS.md"]


def made_by(name):
    where = ROOT / "docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_figure_is_left_out(page):
    assert not re.findall(r"@\w+@|TODO|FIXME|XXX", page.read_text(encoding="utf-8"))


def test_the_settings_page_is_current():
    module = made_by("make_settings")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run docs/make_settings.py"


def test_the_tables_of_the_study_are_those_of_the_records():
    module = made_by("make_study")
    text = module.PAGE.read_text(encoding="utf-8")
    assert text == module.page(text), "run docs/make_study.py"
    for name in module.TABLES:
        assert re.search(rf"<!-- {name} -->\n\|.*\|\n<!-- end -->", text, re.DOTALL), name


def test_efforts_carry_the_figures_of_the_records():
    records = read_records(ROOT / "benchmarks" / "records.jsonl")
    found = {name: [] for name in EFFORTS}
    for score in records:
        plain = not score.benchmark.settings and score.benchmark.steps_factor == 1
        exact = score.benchmark.told == "exact" and not score.benchmark.eight_bit
        here = (score.benchmark.dataset, score.benchmark.noise) == ("kodak256", "gaussian:25")
        if score.method in found and plain and exact and here and score.seed == 0:
            found[score.method].append(score)
    for name, effort in EFFORTS.items():
        scores = found[name]
        if effort.psnr is not None:
            assert len(scores) == 12
            psnr = statistics.fmean(score.psnr for score in scores)
            assert effort.psnr == pytest.approx(psnr, abs=0.005)
            assert effort.seconds == round(statistics.median(score.seconds for score in scores))


def test_the_ablation_that_is_shown_can_be_run(tmp_path):
    page = (ROOT / "docs" / "ablate.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "shown.yaml").write_text(shown)
    ablation = load_ablation(tmp_path / "shown.yaml")
    assert len({(cell.base, cell.key) for cell in ablation.cells}) == 11
    assert all(f"`{name}`" in page for name in (TABLE, CURVES, STUDY, RESULTS))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_ablation_page_is_that_of_its_tables():
    folder = ROOT / "docs" / "ablations"
    study, results = load_study(folder), load(folder)
    assert study.ablation == load_ablation()
    found = json.loads(json.dumps(as_dict(study.ablation, results)))
    assert found == json.loads((folder / RESULTS).read_text(encoding="utf-8")), "draw it anew"
    runs = len({line.run for line in results.lines})
    assert f"{runs} runs" in (folder / "ablation.md").read_text(encoding="utf-8")
    assert f"{runs} runs" in (folder / "README.md").read_text(encoding="utf-8")
