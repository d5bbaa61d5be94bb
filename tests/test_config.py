"""The config: every bad value is one line that names its key; presets differ where they must."""

import string
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guided_dip.config import EFFORTS, PRESETS, Config, dump, fill_in, load, make_config
from guided_dip.errors import InputError
from guided_dip.training import FitSettings


def test_the_defaults_that_are_promised():
    config = make_config()
    assert (config.seed, config.supervision, config.noise) == (0, "recorrupted-guides", "auto")
    assert (config.schedule, config.lower_clip) == ("cosine", 1e-4)
    assert not config.oracle


def test_report_and_author_differ_exactly_where_text_and_code_differ():
    report, author = (make_config(preset=name).model_dump() for name in ("report", "author"))
    differ = {key: (report[key], author[key]) for key in report if report[key] != author[key]}
    assert differ == {
        "redraw_z": (False, True),
        "rebuild_optimizer": (False, True),
        "measure": ("before", "after"),
        "eval_mode": (False, True),
        "quantize": ("none", "truncate"),
        "resize": (None, 128),
    }


@pytest.mark.parametrize("preset", ["report", "author"])
def test_the_settings_of_the_report(preset):
    config = make_config(preset=preset)
    assert (config.steps, config.count, config.start, config.end) == (2000, 20, 500, 40)
    assert (config.optimizer, config.learning_rate) == ("adam", 1e-3)
    assert config.learning_rate_schedule == "constant"
    assert (config.backbone, config.schedule, config.lower_clip) == ("unet", "cosine", 1e-4)
    assert config.noise_convention == "offset"
    assert config.oracle
    assert make_config({"schedule": "linear"}, preset=preset).schedule == "linear"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_survives_a_file(preset, tmp_path):
    config = make_config(preset=preset)
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert load(path) == config


def test_the_loop_has_no_setting_that_the_config_lacks():
    assert set(FitSettings.__dataclass_fields__) <= set(Config.model_fields)


def test_every_field_is_described():
    assert all(field.description for field in Config.model_fields.values())


def test_settings_win_over_the_preset():
    assert make_config({"steps": 7}, preset="report").steps == 7


def test_replace_validates():
    config = make_config()
    assert config.replace(seed=3).seed == 3
    assert config.seed == 0
    with pytest.raises(InputError, match="seed"):
        config.replace(seed=-1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "unknown setting 'sed': did you mean 'seed'"),
        ({"schedule": "cosin"}, "schedule cannot be 'cosin': did you mean 'cosine'"),
        ({"supervision": "clean"}, "supervision cannot be 'clean': did you mean 'clean-guides'"),
        ({"steps": 0}, "steps cannot be 0"),
        ({"steps": "many"}, "steps cannot be 'many'"),
        ({"steps": 1.5}, "steps cannot be 1.5"),
        ({"count": 0}, "count cannot be 0"),
        ({"learning_rate": float("nan")}, "learning_rate cannot be nan"),
        ({"learning_rate": float("inf")}, "learning_rate cannot be inf"),
        ({"weight_average": 1.0}, "weight_average cannot be 1.0"),
        ({"seed": -1}, "seed cannot be -1"),
        ({"backbone_options": 3}, "backbone_options cannot be 3"),
        ({"a_start": 0.1, "a_end": 0.5}, "a_start"),
        ({"noise": "gaus:25"}, "noise"),
        ({"noise": "gaussian:lots"}, "lots"),
        ({"optimizer": "sgd"}, "optimizer cannot be 'sgd': one of: adam, adamw"),
    ],
)
def test_bad_settings_are_one_line_that_names_the_key(settings, message):
    with pytest.raises(InputError) as caught:
        make_config(settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_preset():
    with pytest.raises(InputError, match="did you mean 'report'"):
        make_config(preset="raport")


def test_what_is_near_to_nothing_is_answered_with_all_there_is():
    with pytest.raises(InputError) as caught:
        make_config(preset="photo")
    assert "did you mean" not in str(caught.value)
    assert "report, author" in str(caught.value)


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip


@given(st.sampled_from(sorted(Config.model_fields)), junk)
def test_any_value_is_taken_or_refused_by_name(key, value):
    refusal = ""
    try:
        config = make_config({key: value})
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert key in refusal
    else:
        assert make_config(config.model_dump()) == config
        assert yaml.safe_load(dump(config)) == config.model_dump()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "cannot read the config"),
        ("- 1", "not a list of"),
        ("", "not a list of"),
        ("sheduel: linear", "did you mean 'schedule'"),
        ("1: 2", "unknown setting '1'"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load(path)


def read_or_refused(data: bytes) -> str:
    """Return the refusal of a config file; empty if it is taken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(data)
        try:
            config = load(path)
        except InputError as error:
            refusal = str(error)
            assert str(path) in refusal
            assert len(refusal.splitlines()) == 1
            assert len(refusal) < 2000
            return refusal.replace(str(path), "")
        path.write_text(dump(config))
        assert load(path) == config
        return ""


LETTERS = string.ascii_letters + string.digits + "_- \u00e9\u4e2d"
keys = st.one_of(
    st.sampled_from(sorted(Config.model_fields)), st.text(LETTERS, min_size=1, max_size=9)
)


@settings(max_examples=300)
@given(st.dictionaries(keys, junk, min_size=1, max_size=4))
def test_every_file_of_settings_is_taken_or_refused_by_key(values):
    text = yaml.safe_dump(values, allow_unicode=True)
    refusal = read_or_refused(text.encode("utf-8", "surrogatepass"))
    if refusal and "cannot read" not in refusal:
        assert any(repr(key)[1:-1] in refusal for key in values), refusal


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode())))
@example(b"steps: 2024-13-45")
@example(b"[" * 5000)
@example(b"steps: " + b"9" * 10000)
@example(b"noise: " + b"a" * 10000)
@example(b"? [1, 2]\n: 3")
@example(b"? {a: 1}\n: 3")
@example(b"&a [*a]")
@example(b"steps: &a [*a]")
@example(b"--- 1\n--- 2")
@example(b"\xff\xfe")
@example(b"!!python/object/apply:os.system [ls]")
def test_any_bytes_are_a_config_or_refused(data):
    read_or_refused(data)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read the config"):
        load(tmp_path / "none.yaml")


def filled(side=128, **settings):
    return fill_in(make_config(settings), size=(side, side))


def test_steps_fall_with_size():
    steps = [filled(side, patch=0).steps for side in (16, 256, 300, 512, 1024)]
    assert steps[0] == steps[1] == 800 > steps[2]
    assert steps == sorted(steps, reverse=True)
    assert filled(steps=7).steps == 7


def test_effort_is_a_dial():
    steps = [filled(effort=effort).steps for effort in EFFORTS]
    assert steps == sorted(set(steps))
    widths = [filled(effort=effort).backbone_options["width"] for effort in EFFORTS]
    assert widths == sorted(widths)
    assert make_config(preset="best") == make_config({"effort": "best"})


def test_many_steps_are_several_fits():
    usual = filled(256).steps // filled(256).restarts
    for times in (1, 2, 3):
        assert filled(256, steps=times * usual).restarts == times
    assert filled(256, steps=times * usual, restarts=1).restarts == 1
    assert filled(steps=3).restarts == 1
    assert filled(supervision="observation").restarts == 1


def test_weak_noise_is_worth_longer_fits():
    def restarts(sigma, **settings):
        return fill_in(make_config(settings), size=(256, 256), sigma=sigma).restarts

    assert [restarts(level / 255) for level in (3, 15, 25, 50)] == [1, 1, 2, 2]
    assert restarts(15 / 255, effort="best") == 2
    assert restarts(15 / 255, restarts=3) == 3
    assert restarts(None) == restarts(0.0) == 2


@given(st.integers(1, 5000), st.integers(10, 724), st.floats(0.01, 0.5), st.sampled_from([0, 5]))
def test_rates_carry_a_fit_equally_far_whatever_its_steps(steps, side, sigma, patch):
    given = {"steps": steps, "patch": patch, "count": 4}
    config = fill_in(make_config(given), size=(side, side), sigma=sigma)
    work = config.steps / ((1 + side**2 / patch**2) / 2 if patch else 1)
    fit = work / config.restarts / min(1.0, 65536 / side**2) ** 0.4
    way = fit * config.muon_learning_rate
    expected = 400 * 0.02 / max(1.0, sigma * 255 / 25) ** 0.5
    largest = 0.02 if patch else 0.04
    assert config.muon_learning_rate <= largest
    assert way == pytest.approx(expected) or config.muon_learning_rate == largest
    assert config.muon_learning_rate / config.learning_rate == pytest.approx(0.02 / 3e-3)


def test_few_photons_are_blurred_by_stronger_noise():
    def weakest(photons, **settings):
        return fill_in(make_config(settings), size=(64, 64), photons=photons).a_end

    assert weakest(None) == 0.5
    assert weakest(100) == 0.5
    assert weakest(1.44) == pytest.approx(1)
    assert weakest(0) == weakest(0.01) == 2  # a_start
    assert weakest(0.01, a_start=5) == 5
    assert weakest(1.44, a_end=0.7) == 0.7
    assert weakest(None, a_start=0.3) == 0.3


@pytest.mark.parametrize(
    ("size", "side"),
    [((512, 512), 256), ((256, 300), 128), ((200, 900), 96), ((191, 900), 0), ((16, 16), 0)],
)
def test_squares_are_half_the_image_if_that_is_large_enough(size, side):
    assert fill_in(make_config(), size=size).patch == side


@pytest.mark.parametrize(
    "settings",
    [
        {"supervision": "observation"},
        {"supervision": "observation-guides"},
        {"backbone": "unet"},
        {"stopping": "es-wmv"},
        {"output_average": 0.9},
        {"patch": 0},
    ],
)
def test_where_nothing_is_fitted_to_squares(settings):
    assert filled(256, **settings).patch == 0
    assert filled(256).patch == 128


def test_squares_make_for_more_steps_of_the_same_work():
    plain, squares = filled(256, patch=0), filled(256)
    assert (plain.steps, plain.restarts) == (800, 2)
    # two of five guides, whose steps cost a quarter
    assert squares.steps == round(800 * (0.6 + 0.4 * 4))
    assert squares.restarts == 2
    assert squares.muon_learning_rate == pytest.approx(plain.muon_learning_rate)


def test_long_fits_on_squares_alone_go_no_farther_than_short_ones():
    """At the full rates twelve megapixels diverged."""
    large = fill_in(make_config({"effort": "fast"}), size=(3000, 4000))
    assert large.patch_guides == large.count
    assert large.restarts == 1
    assert large.steps * large.muon_learning_rate == pytest.approx(900 * 0.02)
    assert fill_in(make_config({"effort": "fast"}), size=(512, 512)).muon_learning_rate == 0.02
    balanced = fill_in(make_config(), size=(3000, 4000))
    steps = balanced.steps / balanced.restarts
    assert steps * balanced.muon_learning_rate == pytest.approx(900 * 0.02)


def test_given_rates_stay():
    config = filled(learning_rate=1e-4, muon_learning_rate=0.5)
    assert (config.learning_rate, config.muon_learning_rate) == (1e-4, 0.5)


def test_the_network_of_an_effort_goes_with_its_backbone_and_supervision():
    assert filled().backbone_options["width"] == 48
    assert filled(backbone="unet").backbone_options == {}
    assert filled(supervision="observation").backbone_options == {}
    assert filled(backbone_options={"width": 3}).backbone_options == {"width": 3}


def test_filling_in_twice_changes_nothing():
    once = filled(effort="fast")
    assert fill_in(once, size=(500, 500)) == once


@pytest.mark.parametrize("supervision", ["observation", "observation-guides", "clean-guides"])
def test_networks_fed_with_z_default_to_plain_dip(supervision):
    config = make_config({"supervision": supervision})
    assert (config.steps, config.optimizer, config.learning_rate) == (1800, "adam", 1e-2)
    assert not config.flips_and_turns
    assert config.learning_rate_schedule == "constant"
    assert make_config({"supervision": supervision, "steps": 5}).steps == 5
