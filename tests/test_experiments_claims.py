"""Claims are judged by fixed rules: from synthetic numbers each verdict can be had."""

import dataclasses
import math

import numpy as np
import pytest

from guided_dip.errors import InputError
from guided_dip.experiments.claims import STATEMENTS, decimal, judge, judge_report
from guided_dip.experiments.rows import ROWS, Arm, every_arm, make_arms, select_rows
from guided_dip.experiments.scores import (
    ArmNumbers,
    Colours,
    RowNumbers,
    RunNumbers,
    colours_of,
    jump_ratio,
    trend_drop,
)

ARM = Arm("clean-guides", "offset")
GRAY, GREEN = Colours(0.5, 0.2, 0.01), Colours(0.6, 0.4, 0.2)
# Numbers under which every claim holds, by row.
IDEAL = {
    "dip-unet": {"final_psnr": 20, "best_step": 1500, "trend_drop": 1},
    "dip-segnet": {"final_psnr": 25, "best_step": 300, "trend_drop": 2},
    "unet-linear": {"final_psnr": 19, "early_sigma": 0.1},
    "unet-cosine": {"final_psnr": 22, "early_sigma": 0.02},
    "segnet-linear": {"final_psnr": 24, "early_sigma": 0.1},
    "segnet-cosine": {"final_psnr": 28, "early_sigma": 0.02},
}
USUAL = {
    "steps": 2000,
    "final_loss": 0.01,
    "best_psnr": 30.0,
    "best_step": 1950,
    "trend_drop": 0.0,
    "loss_jump": 9.0,
    "psnr_jump": 7.0,
    "colours": GRAY,
    "original": GREEN,
}


def arm(seeds=(0.0,), **changes):
    """Return the ideal arm with changes by row; a seed adds its offset to the final PSNR."""
    rows = []
    for row in ROWS:
        change = changes.get(row.key.replace("-", "_"), {})
        if change is None:
            continue
        values = USUAL | IDEAL[row.key] | change
        runs = tuple(
            RunNumbers(seed=k, **(values | {"final_psnr": values["final_psnr"] + offset}))
            for k, offset in enumerate(seeds)
        )
        rows.append(RowNumbers(row, runs))
    return ArmNumbers(ARM, tuple(rows))


def verdicts(numbers):
    return {claim.letter: claim.verdict for claim in judge(numbers)}


def test_every_claim_holds_where_the_numbers_say_so():
    assert verdicts(arm()) == dict.fromkeys(STATEMENTS, "holds")


@pytest.mark.parametrize(
    ("letter", "changes"),
    [
        ("a", {"unet_cosine": {"final_psnr": 29}}),
        ("b", {"unet_linear": {"final_psnr": 24}}),
        ("b", {"dip_segnet": {"final_psnr": 30}}),
        ("c", {"dip_segnet": {"best_step": 1900}}),
        ("c", {"dip_unet": {"best_step": 300}}),
        ("c", {"dip_unet": {"trend_drop": -0.1}}),
        ("d", {"segnet_linear": {"best_step": 900}}),
        ("d", {"unet_cosine": {"trend_drop": 3}}),
        ("e", {"unet_linear": {"loss_jump": 1.0}}),
        ("e", {"segnet_cosine": {"psnr_jump": 0.5}}),
        ("f", {"unet_cosine": {"colours": Colours(0.7, 0.2, 0.2)}}),
        ("f", {"dip_unet": {"colours": Colours(0.5, 0.6, 0.2)}}),
        ("f", {"unet_linear": {"colours": Colours(0.5, 0.2, 0.19)}}),
        ("g", {"segnet_cosine": {"early_sigma": 0.3}}),
    ],
)
def test_one_false_comparison_refutes_a_claim_and_no_other(letter, changes):
    found = verdicts(arm(**changes))
    assert found[letter] == "does not hold"
    # Final PSNRs bear on both (a) and (b).
    others = {key: verdict for key, verdict in found.items() if key not in {letter, "a", "b"}}
    assert set(others.values()) == {"holds"}


@pytest.mark.parametrize(
    ("letter", "missing"),
    [
        ("a", "dip_segnet"),
        ("b", "unet_linear"),
        ("c", "dip_unet"),
        ("d", "segnet_linear"),
        ("e", "segnet_cosine"),
        ("f", "unet_linear"),
        ("g", "unet_cosine"),
    ],
)
def test_a_missing_row_leaves_a_claim_undecided(letter, missing):
    found = {claim.letter: claim for claim in judge(arm(**{missing: None}))}
    assert found[letter].verdict == "undecided"
    assert missing.replace("_", "-") in "\n".join(found[letter].lines)
    assert "no figure" in "\n".join(found[letter].lines)


def test_no_rows_at_all_decide_nothing():
    assert set(verdicts(ArmNumbers(ARM, ())).values()) == {"undecided"}


def test_a_spread_larger_than_the_difference_leaves_a_claim_undecided():
    narrow, wide = (-0.1, 0.1), (-3.0, 3.0)
    assert verdicts(arm(narrow))["a"] == "holds"
    assert verdicts(arm(wide))["a"] == "undecided"
    # std over (-3, 3) is 4.24; of a difference, sqrt(2) times that.
    (claim,) = [claim for claim in judge(arm(wide)) if claim.letter == "a"]
    assert claim.parts[0].spread == pytest.approx(math.hypot(4.2426, 4.2426), abs=1e-3)


def test_a_row_of_one_seed_takes_the_largest_spread_of_the_others():
    several = arm((-3.0, 3.0))
    single = arm()
    rows = tuple(single[row.key] if row.key == "dip-unet" else several[row.key] for row in ROWS)
    claims = {claim.letter: claim for claim in judge(ArmNumbers(ARM, rows))}
    assert claims["a"].parts[0].spread == pytest.approx(6.0, abs=1e-3)
    # And where no row has several, the usual half a decibel each.
    assert judge(single)[0].parts[0].spread == pytest.approx(math.hypot(0.5, 0.5))


def test_a_picture_without_green_has_none_to_lose():
    gray = dataclasses.replace(GREEN, green=0.001)
    numbers = arm(**{row.key.replace("-", "_"): {"original": gray} for row in ROWS})
    (claim,) = [claim for claim in judge(numbers) if claim.letter == "f"]
    assert claim.verdict == "undecided"
    assert "no green to lose" in "\n".join(claim.lines)


def test_a_gray_picture_leaves_colours_undecided():
    none = {"colours": None, "original": None}
    numbers = arm(**{row.key.replace("-", "_"): none for row in ROWS})
    assert verdicts(numbers)["f"] == "undecided"


def test_the_reports_own_figures_go_through_the_same_rules():
    assert {claim.letter: claim.verdict for claim in judge_report()} == {
        "a": "holds",
        "b": "undecided",  # 21.35 against 21.29
        "c": "undecided",
        "d": "does not hold",  # UNet with cosine loses 2.56 dB
    }


def test_jumps_are_measured_against_the_change_within_stages():
    values = np.cumsum(np.where(np.arange(60) % 2, 1.0, -1.0))
    values[30:] += 10
    assert jump_ratio(values, [30]) == pytest.approx(10, abs=1.01)
    assert jump_ratio(np.arange(60.0), [30]) == 1
    assert jump_ratio(values, []) is None
    assert jump_ratio(values[:4], [2]) is None
    assert jump_ratio(np.zeros(60), [30]) is None


def test_the_trend_ignores_jitter():
    steps = np.arange(2000)
    rising = steps / 100 + np.where(steps % 2, 1.0, -1.0)
    assert trend_drop(rising) == pytest.approx(0, abs=1e-9)
    falling = np.concatenate([steps / 100, 20 - steps[:500] / 100])
    assert trend_drop(falling) == pytest.approx(5, abs=0.2)


def test_colours_of_plain_pictures():
    green = np.full((4, 4, 3), [0.0, 0.5, 0.0])
    assert colours_of(green) == Colours(0.5, 1.0, 0.5)
    assert colours_of(np.full((4, 4, 3), 0.25)) == Colours(0.25, 0.0, 0.0)
    assert colours_of(np.zeros((4, 4))) is None


def test_rows_are_selected_by_name_or_by_word():
    assert select_rows([]) == ROWS
    assert [row.key for row in select_rows(["unet"])] == ["dip-unet", "unet-linear", "unet-cosine"]
    assert [row.key for row in select_rows(["cosine-segnet", "dip"])] == [
        "dip-unet",
        "dip-segnet",
        "segnet-cosine",
    ]
    with pytest.raises(InputError, match="did you mean 'unet-cosine'"):
        select_rows(["unet-cosin"])


def test_arms_cross_supervisions_and_conventions_where_these_apply():
    arms = make_arms(["clean-guides", "observation", "recorrupted-guides"], ["offset", "centred"])
    assert [arm.key for arm in arms] == [
        "clean-guides-offset",
        "clean-guides-centred",
        "observation",
        "recorrupted-guides",
    ]
    assert len({arm.key for arm in every_arm()}) == len(every_arm()) == 8
    assert every_arm()[0].key == "clean-guides-offset"
    for wrong in (["clean"], ["offset"]), (["clean-guides"], ["ofset"]):
        with pytest.raises(InputError, match="unknown"):
            make_arms(*wrong)


def test_dip_rows_are_one_draw_at_t_40_or_the_observation():
    dip, guided = ROWS[0], ROWS[3]
    assert ARM.settings(dip) == {
        "supervision": "clean-guides",
        "noise_convention": "offset",
        "backbone": "unet",
        "schedule": "cosine",
        "count": 1,
        "end": 40,
    }
    honest = Arm("observation-guides", "offset")
    assert honest.home(dip) == Arm("observation")
    assert honest.home(guided) == honest
    assert Arm("observation").home(guided) is None
    assert "count" not in ARM.settings(guided)


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (-0.4, 0, True, "0"),
        (-0.0, 2, False, "0.00"),
        (0.004, 2, True, "0.00"),
        (1.5, 1, True, "+1.5"),
        (1.5, 1, False, "1.5"),
        (-1.5, 1, True, "\N{MINUS SIGN}1.5"),
        (-1.5, 1, False, "\N{MINUS SIGN}1.5"),
        (1999.0, 0, False, "1999"),
    ],
)
def test_decimals(value, digits, signed, text):
    assert decimal(value, digits, signed=signed) == text
