"""Ablations: what a file says, the runs that follow, their table, and what is concluded."""

import csv
import json
import math
import shutil
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from guided_dip.cli.app import run as command
from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError
from guided_dip.experiments.ablation import runs, table
from guided_dip.experiments.ablation.design import (
    BASE,
    SHIPPED,
    Ablation,
    load_ablation,
    make_ablation,
    select,
)
from guided_dip.experiments.ablation.figures import Effect, bases_figure, factor_figure
from guided_dip.experiments.ablation.line import NUMBERS, Line
from guided_dip.experiments.ablation.page import effects_of, make_document
from guided_dip.experiments.ablation.questions import answers
from guided_dip.experiments.ablation.statistics import band_of, difference, estimate, mean_of
from guided_dip.experiments.document import Table
from guided_dip.experiments.pictures import SHIPPED as PICTURES
from guided_dip.experiments.pictures import largest_square, shipped_picture
from guided_dip.experiments.rows import SAW_CLEAN, SAW_NOISY
from guided_dip.experiments.runner import digest_of
from guided_dip.experiments.tables import NONE
from guided_dip.runs import load_run
from guided_dip.supervision import clean_guides

TINY = {
    "title": "A tiny ablation",
    "settings": {
        "backbone": "skip",
        "backbone_options": {"width": 4, "scales": 2, "skip_channels": 2},
        "steps": 12,
        "count": 3,
        "device": "cpu",
    },
    "seeds": 2,
    "bases": {
        "clean": {"title": "from the clean image", "settings": {"noise_convention": "unbiased"}},
        "noisy": {"settings": {"supervision": "observation-guides"}, "vary": ["count", "steps"]},
    },
    "factors": {
        "count": [1, 3],
        "steps": [6, 12],
        "ends": {"near": {"end": 20}, "as it is": {}},
    },
    "claims": [
        {
            "statement": "More guides are better.",
            "parts": [{"of": "clean", "over": "clean/count/1", "more_than": 0}],
        },
        {
            "statement": "Nothing is lost.",
            "parts": [{"of": "noisy", "number": "lost", "less_than": 100}],
        },
    ],
    "headings": {"count": "How many guides?"},
}


WRONG = {"of": "clean", "number": "snr", "more_than": 0}


def tiny(**changes):
    return make_ablation(TINY | changes)


# What a file says


def test_a_list_of_values_is_a_factor_of_that_setting():
    ablation = tiny()
    assert ablation.factors["count"] == {"1": {"count": 1}, "3": {"count": 3}}
    assert ablation.factors["ends"] == {"near": {"end": 20}, "as it is": {}}


def test_each_base_has_itself_and_each_level_of_its_factors():
    cells = tiny().cells
    clean = [(cell.factor, cell.level, cell.key) for cell in cells if cell.base == "clean"]
    assert clean == [
        (BASE, BASE, BASE),
        ("count", "1", "count=1"),
        ("count", "3", BASE),
        ("steps", "6", "steps=6"),
        ("steps", "12", BASE),
        ("ends", "near", "end=20"),
        ("ends", "as it is", BASE),
    ]
    assert [cell.factor for cell in cells if cell.base == "noisy"] == [
        BASE,
        *["count"] * 2,
        *["steps"] * 2,
    ]


def test_a_level_changes_what_it_says_and_nothing_else():
    ablation = tiny()
    base, one = ablation.cells[0], ablation.cells[1]
    ours, theirs = (ablation.config(cell).model_dump() for cell in (one, base))
    assert {key for key in ours if ours[key] != theirs[key]} == {"count"}
    assert theirs["noise"] == "gaussian:25"
    assert theirs["check_noise"] is False  # told, so that no run depends on an estimate


def test_a_cross_has_every_level_with_every_other():
    ablation = tiny(crosses=[["count", "steps"]])
    cross = [
        cell for cell in ablation.cells if (cell.base, cell.factor) == ("clean", "count x steps")
    ]
    assert [cell.level for cell in cross] == [
        "count=1, steps=6",
        "count=1, steps=12",
        "count=3, steps=6",
        "count=3, steps=12",
    ]
    assert [cell.key for cell in cross] == ["count=1,steps=6", "count=1", "steps=6", BASE]


def test_a_base_may_have_a_preset_and_a_noise_of_its_own():
    ablation = tiny(
        settings={},
        bases={"default": {"preset": "fast", "settings": {"noise": "gaussian:30"}}},
        factors={"strength": {"weak": {"a_end": 1.0}}},
        claims=[],
        headings={},
    )
    config = ablation.config(ablation.cells[0])
    assert (config.effort, config.backbone, config.noise) == ("fast", "normfree", "gaussian:30")


@given(st.text(max_size=12) | st.floats() | st.booleans() | st.dictionaries(st.text(), st.text()))
def test_any_value_makes_a_folder_s_name(value):
    cell = tiny().cells[0]
    key = type(cell)("clean", "f", "l", {}, {"backbone": value}).key
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,=+-")
    assert len(key) < 100


def test_values_that_look_alike_in_a_folder_s_name_are_told_apart():
    cell = tiny().cells[0]
    names = {type(cell)("c", "f", "l", {}, {"backbone": v}).key for v in ("a/b", "a:b", "a_b")}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": {"count": [0]}}, "count cannot be 0"),
        ({"factors": {"cuont": [1]}}, "unknown setting 'cuont': did you mean 'count'"),
        ({"factors": {}}, "factors cannot be"),
        ({"factors": {"a\nb": {"x": {}}}}, "factors"),
        ({"factors": {"seed": [1, 2]}}, "'seed' cannot differ within an ablation"),
        ({"bases": {}}, "bases cannot be"),
        ({"bases": {"../x": {}}}, "bases"),
        ({"bases": {"clean": {"vary": ["cout"]}}}, "'cout', which is no factor: did you mean"),
        ({"bases": {"clean": {"preset": "repot"}}}, "unknown preset 'repot'"),
        ({"crosses": [["count"]]}, "a cross has two factors or more"),
        ({"crosses": [["count", "steeps"]]}, "no factor is called 'steeps': did you mean 'steps'"),
        ({"headings": {"cout": "?"}}, "a heading of 'cout': did you mean 'count'"),
        ({"seeds": 0}, "seeds cannot be 0"),
        ({"sigma": -1}, "sigma cannot be -1"),
        ({"titel": "x"}, "titel"),
        (
            {"claims": [{"statement": "x", "parts": [{"of": "clean/count/7", "more_than": 0}]}]},
            "a claim is about 'clean/count/7', which is not run",
        ),
        (
            {"claims": [{"statement": "x", "parts": [{"of": "clean"}]}]},
            "either more_than or less_than",
        ),
        ({"claims": [{"statement": "x", "parts": [WRONG]}]}, "number"),
    ],
)
def test_a_wrong_file_says_what_is_wrong_in_one_line(change, message):
    plain = {"bases": {"clean": {}}, "claims": [], "headings": {}}
    with pytest.raises(InputError, match="ablation: ") as caught:
        tiny(**plain | change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"title: [", "cannot read the ablation"),
        (b"title: x\nbases: {a: b?}\n", "line 2: expected"),
        (b"\xff\xfe", "cannot read the ablation"),
        (b"- 1\n", "is no ablation"),
        (b"", "is no ablation"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, text, message):
    file = tmp_path / "a.yaml"
    file.write_bytes(text)
    with pytest.raises(InputError, match=message):
        load_ablation(file)
    with pytest.raises(InputError, match="cannot read the ablation"):
        load_ablation(tmp_path / "missing.yaml")


def test_settings_for_all_runs_give_way_to_levels_only():
    ablation = tiny().with_settings({"steps": 5, "supervision": "clean-guides"})
    configs = {(c.base, c.factor, c.level): ablation.config(c) for c in ablation.cells}
    assert configs["clean", BASE, BASE].steps == 5
    assert configs["clean", "steps", "12"].steps == 12
    assert configs["noisy", BASE, BASE].supervision == "clean-guides"
    with pytest.raises(InputError, match="unknown setting 'stepps'"):
        tiny().with_settings({"stepps": 5})


def test_a_selection_has_the_bases_as_they_are():
    chosen = select(tiny(), ["clean"], ["steps"])
    assert [(c.base, c.factor) for c in chosen] == [
        ("clean", BASE),
        ("clean", "steps"),
        ("clean", "steps"),
    ]
    with pytest.raises(InputError, match="no base is called 'claen': did you mean 'clean'"):
        select(tiny(), ["claen"])
    with pytest.raises(InputError, match="no factor is called 'x'"):
        select(tiny(), [], ["x"])


def test_the_ablation_that_comes_with_the_project():
    ablation = load_ablation()
    assert SHIPPED.exists()
    used = {cell.factor for cell in ablation.cells} - {BASE}
    assert used == set(ablation.factors) == set(ablation.headings)
    letters = "".join(claim.statement[1] for claim in ablation.claims[:7])
    assert letters == "abcdefg"
    schedules = {
        name: make_schedule(name, lower_clip=1e-4) for name in ("cosine", "linear", "sigmoid")
    }
    for level, settings in ablation.factors["equal ends"].items():
        end = settings.get("end", 40)
        wanted = float(level.rpartition(" ")[2])
        assert schedules[settings["schedule"]].sigma[end] * 255 == pytest.approx(wanted, abs=0.25)
        if level.split()[1] == "130":
            start = schedules[settings["schedule"]].sigma[settings["start"]]
            assert start * 255 == pytest.approx(130, abs=0.5)


# Pictures


def test_pictures_that_scikit_image_ships():
    for key, crop in PICTURES.items():
        source, pixels = shipped_picture(crop)
        assert pixels.shape == (256, 256, 3)
        assert pixels.std() > 20
        assert key in source.name


@pytest.mark.parametrize("shape", [(5, 9), (9, 5, 3), (4, 4)])
def test_the_largest_square_is_in_the_middle(shape):
    pixels = np.arange(math.prod(shape)).reshape(shape)
    square = largest_square(pixels)
    side = min(shape[:2])
    assert square.shape[:2] == (side, side)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    assert (square[0, 0] == pixels[top, left]).all()
    assert (square[-1, -1] == pixels[top + side - 1, left + side - 1]).all()


def test_pictures_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 30), (9, 8, 7)).save(tmp_path / folder / "My photo.png")
    paths = [tmp_path / folder / "My photo.png" for folder in ("a", "b")]
    (clean,) = runs.open_pictures(paths[:1], 16)
    assert (clean.key, clean.pixels.shape) == ("my-photo", (16, 16, 3))
    with pytest.raises(InputError, match="two pictures are called 'my-photo'"):
        runs.open_pictures(paths, 16)


def test_observations_are_the_pictures_with_noise_of_the_level(tmp_path):
    Image.new("L", (64, 64), 128).save(tmp_path / "gray.png")
    inputs = runs.make_inputs(runs.open_pictures([tmp_path / "gray.png"], 64), 25)
    clean, noisy = inputs["gray"], inputs["gray noisy"]
    assert clean.image.dtype == np.uint8
    assert (noisy.image - noisy.clean).std() * 255 == pytest.approx(25, rel=0.03)
    assert np.ptp(noisy.clean) == 0


# Means and intervals


values = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 3)),
    st.floats(-50, 50),
    min_size=1,
    max_size=16,
)


@given(values)
def test_means_and_intervals_are_scipy_s(given):
    found = estimate(given)
    pictures = {p: [v for (q, _), v in given.items() if q == p] for p, _ in given}
    means = [statistics.fmean(of) for of in pictures.values()]
    assert found.mean == pytest.approx(statistics.fmean(means), abs=1e-9)
    assert found.runs == len(given)
    over = means if len(means) > 1 else next(iter(pictures.values()))
    if len(over) == 1:
        assert found.half is None
        assert (found.low, found.high, found.sign) == (-math.inf, math.inf, 0)
    elif statistics.stdev(over) > 1e-6:
        interval = stats.ttest_1samp(over, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(interval), abs=1e-6)


def test_the_spread_over_seeds_is_pooled_over_pictures():
    found = estimate({("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 10.0, ("b", 1): 14.0, ("c", 0): 5.0})
    assert found.seeds == pytest.approx(math.sqrt((2 + 8) / 2))
    assert estimate({("a", 0): 1.0, ("b", 0): 2.0}).seeds is None
    assert estimate({}) is None


def line(picture="a", seed=0, psnr=20.0, base="clean", factor=BASE, level=BASE, **others):
    given = dict.fromkeys(NUMBERS, 0.0) | {"psnr": psnr, "steps": 100, "best_step": 99} | others
    name = f"runs/{base}/{factor}-{level}/{picture}/seed-{seed}"
    settings = "{}" if factor == BASE else '{"count": 1}'
    return Line(base, factor, level, picture, seed, name, "d", SAW_CLEAN, settings, **given)


def test_differences_are_taken_on_the_same_picture_with_the_same_seed():
    ours = [line("a", 0, 21.0), line("a", 1, 25.0), line("b", 0, 33.0), line("d", 0, 99.0)]
    theirs = [line("a", 0, 20.0), line("a", 1, 22.0), line("b", 0, 30.0), line("c", 0, 5.0)]
    found = difference(ours, theirs)
    assert found.by_picture == {"a": 2.0, "b": 3.0}
    assert (found.mean, found.runs) == (2.5, 3)
    assert difference(ours, []) is None
    assert mean_of([line(ceiling=None)], "ceiling") is None


def test_a_band_is_of_how_curves_go_not_of_how_hard_pictures_are():
    x = np.linspace(0, 1, table.POINTS, dtype=np.float32)
    lines = [line("a"), line("b")]
    band = band_of(lines, {lines[0].run: 20 + x, lines[1].run: 30 + x})
    np.testing.assert_allclose(band.mean, 25 + x, rtol=1e-6)
    assert np.abs(band.half).max() < 1e-5
    crossing = band_of(lines, {lines[0].run: 20 + x, lines[1].run: 30 - x})
    np.testing.assert_allclose(crossing.mean, 25, rtol=1e-6)
    expected = stats.t.ppf(0.975, 1) * np.abs(x - 0.5)  # half the distance, over the root of two
    np.testing.assert_allclose(crossing.half, expected, atol=1e-3)
    assert band_of(lines[:1], {lines[0].run: x}).half is None


# Claims


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ((1.0, 1.1, 1.2), "holds"),
        ((-1.0, -1.1, -1.2), "does not hold"),
        ((-1.0, 1.0, 0.2), "undecided"),
        ((1.0,), "undecided"),
    ],
)
def test_a_claim_is_judged_by_its_interval(changes, verdict):
    lines = []
    for picture, change in zip("abc", changes, strict=False):
        lines.append(line(picture, psnr=20 + change))
        lines.append(line(picture, psnr=20.0, factor="count", level="1"))
    first, second = answers(tiny(), lines)
    assert first.verdict == verdict
    assert "clean against clean/count/1: PSNR" in first.parts[0].words
    assert second.verdict == "undecided"
    assert second.parts[0].words.endswith("not measured")


def test_effects_are_of_levels_that_were_run():
    lines = [line("a"), line("b"), line("a", psnr=22.0, factor="count", level="1")]
    (effect,) = effects_of("count", tiny(), lines)["clean"]
    assert (effect.level, effect.change.mean, effect.change.half) == ("1", 2.0, None)
    assert effects_of("steps", tiny(), lines) == {}


# Figures and tables


def flat(lines, height=20.0):
    return {each.run: np.full(table.POINTS, height, np.float32) for each in lines}


def changed(by, level, **numbers):
    lines = tuple(
        line(p, psnr=20 + by + k / 10, level=level, **numbers) for k, p in enumerate("ab")
    )
    change = difference(lines, [line(p, psnr=20.0) for p in "ab"])
    return Effect(level, lines, change, mean_of(lines, "trend_drop"), mean_of(lines, "noise_kept"))


def drawn(effects):
    """The axes of a figure: changes, losses, noise kept, curves."""
    effects = {"clean": tuple(effects)}
    curves = flat([each for effect in effects["clean"] for each in effect.lines])
    return factor_figure("?", effects, curves).axes


def test_a_change_that_would_hide_the_others_is_pointed_at():
    axes = drawn(changed(by, str(by)) for by in (1, 2, -60, 3))[0]
    assert [text.get_text().strip() for text in axes.texts] == ["\N{MINUS SIGN}60.0"]
    low, high = axes.get_ylim()
    assert -10 < low < high < 10
    assert not drawn(changed(by, str(by)) for by in (1, 2, -3))[0].texts


def test_what_another_s_interval_reaches_is_not_beyond():
    wide = tuple(line(p, psnr=20 + by, level="wide") for p, by in zip("ab", (0, 20), strict=True))
    change = difference(wide, [line(p, psnr=20.0) for p in "ab"])  # 10 on the mean
    effects = [changed(by, str(by)) for by in (1, 1.1, 1.2, 60)]
    assert [each.get_text().strip() for each in drawn(effects)[0].texts] == ["+60.0"]
    assert not drawn([*effects, Effect("wide", wide, change)])[0].texts


def test_a_loss_that_would_hide_the_others_is_pointed_at():
    losses = (0.1, 0.2, 30.0, 0.0)
    axes = drawn(changed(k, str(k), trend_drop=loss) for k, loss in enumerate(losses))[1]
    assert [text.get_text().strip() for text in axes.texts] == ["30.0"]
    assert axes.get_ylim()[0] == 0.0
    assert axes.get_ylim()[1] < 10


@pytest.mark.parametrize(("levels", "joined"), [(("1", "2.5", "10"), True), (("a", "b"), False)])
def test_only_numbers_are_joined_by_lines(levels, joined):
    _, _, kept, curves = drawn(changed(k, level) for k, level in enumerate(levels))
    assert all((each.get_linestyle() == "-") == joined for each in kept.lines)
    assert len({each.get_color() for each in curves.lines}) == len(levels)


@pytest.mark.parametrize(("psnr", "marked"), [(20.0, 0), (20.04, 0), (27.0, 1), (12.0, 1)])
def test_a_restoration_that_is_another_picture_is_marked(psnr, marked):
    lines = [line(p, psnr=psnr, final_psnr=20.0) for p in "ab"]
    panels = {SAW_CLEAN: {"skip": {"clean": lines}}}
    (axes,) = bases_figure("?", panels, flat(lines)).axes
    diamonds = [each for each in axes.lines if each.get_marker() == "D"]
    assert [float(each.get_ydata()[0]) for each in diamonds] == [psnr] * marked
    low, high = axes.get_ylim()
    assert low < psnr < high


def test_bases_that_saw_the_same_are_held_against_each_other():
    bases = TINY["bases"] | {"wide": {"settings": {"backbone": "unet", "backbone_options": {}}}}
    ablation = tiny(bases=bases)
    study = runs.AblationStudy(ablation=ablation, pictures={"a": "a.png"}, sha256={})
    lines = [line(p, psnr=21.5 + 2 * (base == "wide"), base=base) for base in bases for p in "ab"]
    lines = [each for each in lines if each.base != "noisy"]
    document = make_document(study, table.Results(tuple(lines), flat(lines)))
    (pairs,) = [
        block
        for block in document.blocks
        if isinstance(block, Table) and "against each other" in block.caption
    ]
    assert list(pairs.heads[1:]) == ["clean", "wide"]
    assert [each[0] for each in pairs.lines] == ["clean", "wide"]
    assert pairs.lines[0][1] == pairs.lines[1][2] == NONE
    assert pairs.lines[0][2].startswith("\N{MINUS SIGN}2.00 ± 0.00")
    assert pairs.lines[1][1].startswith("+2.00 ± 0.00")


# Runs, tables and pages


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A tiny ablation, carried out by the command."""
    root = tmp_path_factory.mktemp("ablation")
    (root / "tiny.yaml").write_text(json.dumps(TINY))
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        pixels = np.kron(rng.integers(0, 256, (4, 4, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(pixels).save(root / f"{name}.png")
    assert command([*arguments(root), "--quiet"]) == 0
    return root


def arguments(root, output="out", images=("one", "two")):
    pictures = [part for name in images for part in ("--image", str(root / f"{name}.png"))]
    given = ["--file", str(root / "tiny.yaml"), "-o", str(root / output), "--size", "32"]
    return ["ablate", *given, *pictures, "--workers", "1"]


def copied(done, tmp_path):
    return shutil.copytree(done, tmp_path / "copy")


def test_every_level_is_run_with_every_picture_and_seed(done):
    results = table.load(done / "out")
    ablation = load_ablation(done / "tiny.yaml")
    assert len(results.lines) == len(ablation.cells) * 2 * 2
    names = {line.run for line in results.lines}
    assert len(names) == 7 * 2 * 2
    assert set(results.curves) == names
    for each in results.lines[::5]:
        run = load_run(done / "out" / each.run)
        assert run.config.seed == each.seed
        assert each.psnr == pytest.approx(run.summary.scores.psnr, rel=1e-5)
        assert each.best_psnr == pytest.approx(max(r.psnr for r in run.records), rel=1e-5)
        assert each.steps == len(run.records)
        assert each.saw == (SAW_CLEAN if each.base == "clean" else SAW_NOISY)
        assert (each.input_psnr is None) == (each.base == "clean")
        for key, value in json.loads(each.settings).items():
            assert getattr(run.config, key) == value


def test_what_has_the_base_s_settings_is_the_base_s_run(done):
    lines = table.load(done / "out").lines
    base = [each.run for each in lines if each.base == "clean" and each.factor == BASE]
    same = [
        each.run
        for each in lines
        if (each.base, each.factor, each.level) == ("clean", "count", "3")
    ]
    assert base == same


def test_the_table_reads_back_as_it_was_written(done, tmp_path):
    results = table.load(done / "out")
    table.save(results, tmp_path)
    again = table.load(tmp_path)
    assert again.lines == results.lines
    assert all((again.curves[name] == curve).all() for name, curve in results.curves.items())
    with (tmp_path / table.TABLE).open() as file:
        assert {row["factor"] for row in csv.DictReader(file)} == {BASE, "count", "steps", "ends"}


def test_a_curve_is_the_mean_over_hundredths_of_a_run(done):
    results = table.load(done / "out")
    name = results.lines[0].run
    run = load_run(done / "out" / name)
    psnr = [record.psnr for record in run.records]
    assert results.curves[name][0] == pytest.approx(psnr[0], abs=1e-3)
    assert results.curves[name][-1] == pytest.approx(psnr[-1], abs=1e-3)
    long = [record for record in run.records for _ in range(50)]
    curve = table.curve_of(type(run)(run.folder, run.config, run.summary, tuple(long)))
    np.testing.assert_allclose(curve[:8], psnr[0], atol=1e-3)
    assert curve.mean() == pytest.approx(np.mean(psnr), abs=1e-3)


def test_what_guides_tell_without_a_network_is_their_weighted_mean(done):
    name = next(e.run for e in table.load(done / "out").lines if e.base == "clean")
    run = load_run(done / "out" / name)
    schedule = make_schedule("cosine", lower_clip=1e-4)
    levels = np.array([float(schedule.sigma[s.t]) for s in run.summary.plan])
    rng = np.random.default_rng(0)
    guides = 0.5 + levels[:, None] * rng.standard_normal((len(levels), 200_000))
    mean = (guides / levels[:, None] ** 2).sum(0) / (1 / levels**2).sum()
    psnr = -10 * math.log10(((mean - 0.5) ** 2).mean())
    assert table.guides_psnr(run) == pytest.approx(psnr, abs=0.02)
    noisy = next(e for e in table.load(done / "out").lines if e.base == "noisy")
    assert (noisy.guides_psnr, noisy.over_guides) == (None, None)


def test_noise_that_is_kept_is_found_by_regression(done, monkeypatch):
    results = table.load(done / "out").lines
    for base in ("clean", "noisy"):
        run = load_run(done / "out" / next(e.run for e in results if e.base == base))
        config, plan = run.config, run.summary.plan
        clean = run.clean
        if base == "clean":  # the guide that the fit was given last, once more
            y = torch.from_numpy(clean).permute(2, 0, 1)[None]
            schedule = make_schedule("cosine", lower_clip=1e-4)
            guides = clean_guides(
                y, (y,), plan, schedule, convention="unbiased", jitter=0.0, seed=config.seed
            )
            target = guides.pair(len(plan) - 1, 0).target[0].permute(1, 2, 0).numpy()
        else:
            target = run.input
        for share in (0.0, 0.25, 1.0):
            mixed = clean + np.float32(share) * (target - clean)
            monkeypatch.setattr(type(run), "restored", mixed)
            assert table.noise_kept(run) == pytest.approx(share, abs=1e-4)
        monkeypatch.undo()


def test_the_page_has_every_factor_claim_and_picture(done):
    out = done / "out"
    page = (out / "ablation.md").read_text()
    assert "How many guides?" in page
    assert "## ends" in page
    assert "More guides are better." in page
    results = json.loads((out / "results.json").read_text())
    assert set(results["factors"]) == {"count", "steps", "ends"}
    assert results["claims"][1]["verdict"] == "holds"
    for figure in ("bases", "count", "steps", "ends"):
        with Image.open(out / "figures" / f"{figure}.png") as image:
            assert image.width > 900
        assert f"figures/{figure}.png" in page
    html = (out / "ablation.html").read_text()
    assert html.count("<img") == 4
    assert "http" not in html.replace("http-equiv", "")


def test_finished_runs_are_kept(done, tmp_path, capsys):
    root = copied(done, tmp_path)
    first = (root / "out" / "runs.csv").read_bytes()
    folder = next((root / "out" / "runs").glob("*/*/*/seed-0"))
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    assert command(arguments(root)) == 0
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before
    assert (root / "out" / "runs.csv").read_bytes() == first
    assert "ablation.html: the page" in capsys.readouterr().out


def test_an_ablation_grows_by_pictures_and_factors(done, tmp_path):
    root = copied(done, tmp_path)
    Image.new("RGB", (40, 40), (90, 30, 200)).save(root / "three.png")
    more = TINY | {"factors": TINY["factors"] | {"scale": [0, 300]}}
    (root / "tiny.yaml").write_text(json.dumps(more))
    given = [*arguments(root, images=("three",)), "--factors", "scale", "--seeds", "1"]
    assert command([*given, "--quiet"]) == 0
    lines = table.load(root / "out").lines
    assert {each.picture for each in lines} == {"one", "two", "three"}
    new = [each for each in lines if each.factor == "scale"]
    assert {(each.picture, each.seed) for each in new} == {("three", 0)}
    assert [each.level for each in new] == ["0", "300"]


def test_the_two_tables_are_enough_to_draw_the_page_and_to_go_on(done, tmp_path):
    root = copied(done, tmp_path)
    page = (root / "out" / "ablation.md").read_bytes()
    shutil.rmtree(root / "out" / "runs")
    (root / "out" / "index.json").unlink()
    for name in ("ablation.md", "ablation.html", "results.json"):
        (root / "out" / name).unlink()
    assert command(["ablate", "--redraw", "-o", str(root / "out"), "--quiet"]) == 0
    assert (root / "out" / "ablation.md").read_bytes() == page
    assert command([*arguments(root), "--quiet"]) == 0
    assert not list((root / "out").glob("runs/**/metrics.jsonl"))  # nothing was run again
    assert (root / "out" / "ablation.md").read_bytes() == page


def test_a_run_that_means_something_else_is_not_taken_for_known(done, tmp_path):
    study = runs.load_study(done / "out")
    ablation = study.ablation
    pictures = runs.open_pictures([done / "one.png", done / "two.png"], 32)
    inputs = runs.make_inputs(pictures, ablation.sigma)
    known = table.known_digests(done / "out")
    specs = runs.make_specs(ablation, ablation.cells, list(study.pictures), 2)
    assert all(known[s.name] == digest_of(s, inputs[s.image]) for s in specs)
    brighter = runs.make_inputs(
        [runs.Clean(p.key, p.source, p.pixels // 2) for p in pictures], ablation.sigma
    )
    assert not any(known[s.name] == digest_of(s, brighter[s.image]) for s in specs)
    assert table.known_digests(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "steps=7"], "another meaning of 'clean'"),
        (["--size", "48"], "another size of pictures or noise level"),
    ],
)
def test_another_ablation_in_the_same_folder_is_refused(done, tmp_path, capsys, change, message):
    root = copied(done, tmp_path)
    before = (root / "out" / "runs.csv").read_bytes()
    assert command([*arguments(root), *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (root / "out" / "runs.csv").read_bytes() == before


def test_another_picture_of_the_same_name_is_refused(done, tmp_path, capsys):
    root = copied(done, tmp_path)
    Image.new("RGB", (40, 40), (90, 30, 200)).save(root / "one.png")
    assert command(arguments(root)) == 2
    assert "another picture called 'one'" in capsys.readouterr().err


def test_overwrite_computes_it_again(done, tmp_path):
    root = copied(done, tmp_path)
    given = [*arguments(root), "--set", "steps=7", "--overwrite", "--bases", "clean", "--quiet"]
    assert command(given) == 0
    base = [e for e in table.load(root / "out").lines if (e.factor, e.base) == (BASE, "clean")]
    assert {each.steps for each in base} == {7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there is no folder to work in"),
        (["-o", "missing/out"], "there is no folder 'missing'"),
        (["-o", "file"], "is no folder"),
        (["-o", "full"], "holds other files"),
        (["--redraw", "-o", "full"], "holds no ablation"),
        (["--redraw", "-o", "empty"], "no run of this ablation is finished yet"),
        (["-o", "x", "--image", "nothing.png"], "nothing.png"),
        (["-o", "x", "--bases", "cleen"], "no base is called 'cleen'"),
        (["-o", "x", "--seeds", "0"], "--seeds"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(done, tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    for name in ("full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "x").write_text("x")
    study = json.loads((done / "out" / runs.STUDY).read_text())
    (tmp_path / "empty" / runs.STUDY).write_text(json.dumps(study))
    assert command(["ablate", "--file", str(done / "tiny.yaml"), *given]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_dry_run_and_the_file_that_is_printed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(["ablate", "--print"]) == 0
    (tmp_path / "copy.yaml").write_text(capsys.readouterr().out)
    assert load_ablation(tmp_path / "copy.yaml") == load_ablation()
    given = ["--dry-run", "--bases", "clean-unbiased", "--factors", "count", "--seeds", "1"]
    assert command(["ablate", *given]) == 0
    assert capsys.readouterr().out == "18 runs, 36000 steps in all, on astronaut, chelsea, ihc\n"
    assert {path.name for path in tmp_path.iterdir()} == {"copy.yaml"}


def test_damaged_tables_say_what_to_do(done, tmp_path, capsys):
    root = copied(done, tmp_path)
    (root / "out" / "runs.csv").write_text("base,factor\nclean,base\n")
    assert command(["ablate", "--redraw", "-o", str(root / "out")]) == 2
    assert "try deleting both" in capsys.readouterr().err
    for name in ("runs.csv", "curves.csv"):
        (root / "out" / name).unlink()
    assert command(["ablate", "--redraw", "-o", str(root / "out"), "--quiet"]) == 0
    assert (root / "out" / "runs.csv").read_bytes() == (done / "out" / "runs.csv").read_bytes()


def test_results_as_json(done, capsys):
    given = ["ablate", "--redraw", "-o", str(done / "out"), "--json"]
    assert command(given) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["bases"]["clean"]["runs"] == 4
    assert isinstance(Ablation.model_validate(TINY), Ablation)
