"""What docs/ablations/README.md says with an interval is what the tables beside it have."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from guided_dip.experiments.ablation.questions import by_reference
from guided_dip.experiments.ablation.statistics import difference, mean_of
from guided_dip.experiments.ablation.table import load
from guided_dip.experiments.place import RESULTS

FOLDER = Path(__file__).parent.parent / "docs" / "ablations"
TEXT = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
MINUS = "\N{MINUS SIGN}"
NUMBER = rf"([+{MINUS}]?\d+(?:\.\d+)?%?(?: ± \d+\.\d+)?)"
SPREAD = rf"[+{MINUS}]?\d+(?:\.\d+)? ± \d+\.\d+"

CLEAN, OFFSET, ONE = "clean-unbiased", "clean-offset", "dip-clean"
NOISY, DIP, PAIRS = "observation-guides", "dip", "recorrupted"
DRAWS = f"{CLEAN}/equal guides/20 draws at t = 40"
SHARED = f"{CLEAN}/guide_noise/shared"
ROWS = "segnet-offset/rows"
FLIPPED = f"{PAIRS}/augmentation/flips and turns"
IN_ORDER = "guide_order/shuffled-least-noisy-last"
ADAM = "persistence/Adam rebuilt"
JUMPING = (OFFSET, f"{OFFSET}/rows/linear", "segnet-offset")
STEPS = (2000, 4000, 8000)


@cache
def lines():
    return by_reference(load(FOLDER).lines)


def of(reference, number="psnr"):
    return mean_of(lines()[reference], number)


def above(reference, other, number="psnr"):
    """How much more the first has than the other."""
    return difference(lines()[reference], lines()[other], number)


def gains(base, *levels):
    return [above(f"{base}/{level}", base) for level in levels]


def costs(base, *levels):
    return [above(base, f"{base}/{level}") for level in levels]


def row(reference, *more):
    return [of(reference, number) for number in ("psnr", *more, "lost", "noise_kept")]


def drops(base, segnet):
    unet = [of(f"{base}/steps/{steps}", "trend_drop") for steps in (2000, 8000)]
    return [*unet, of(f"segnet-{segnet}", "trend_drop")]


def segnet(reference):
    numbers = ("psnr", "best_psnr", "best_at", "trend_drop", "noise_kept")
    return [of(f"segnet-{reference}", number) for number in numbers]


def opposite(found):
    return replace(found, mean=-found.mean)


def largest(found):
    most = max(found, key=lambda each: abs(each.mean))
    return most if most.mean > 0 else opposite(most)


SAID = [
    # Is there nothing to stop?
    ("| 20 guides from the clean image | {} | {} | {} |", lambda: drops(CLEAN, "unbiased")),
    (
        "| one draw of the clean image at t = 40 | {} | {} | {} |",
        lambda: drops(ONE, "unbiased/guides or draws/1 draw at t = 40"),
    ),
    ("| 20 guides from the observation | {} | {} | {} |", lambda: drops(NOISY, NOISY)),
    ("| recorrupted guides, of the observation | {} | {} | {} |", lambda: drops(PAIRS, PAIRS)),
    ("| the observation (plain DIP) | {} | {} | {} |", lambda: drops(DIP, DIP)),
    (
        "--effort fast` loses {} dB with its 200 steps, {} with 1600 in one fit.",
        lambda: [of("default", "trend_drop"), of("default/work/1600 steps, one fit", "trend_drop")],
    ),
    ("so do guides that share one noise ({}).", lambda: [of(SHARED, "trend_drop")]),
    (
        "of one draw's it has {} in the picture after 2000 steps and {} after 8000,",
        lambda: [of(f"{ONE}/steps/{steps}", "noise_kept") for steps in (2000, 8000)],
    ),
    (
        "{} dB are lost: the same share of it, {}, shows there.",
        lambda: [of(f"{CLEAN}/end/200", number) for number in ("trend_drop", "noise_kept")],
    ),
    (
        "Outputs in eval mode lose {}, open, and with z and Adam anew at each stage, as the "
        "report's code has it, {} ({} with the report's offset, open)",
        lambda: [
            of(f"{CLEAN}/mode/eval", "trend_drop"),
            of(f"{CLEAN}/mode/eval, z and Adam anew", "trend_drop"),
            of(f"{OFFSET}/mode/eval, z and Adam anew", "trend_drop"),
        ],
    ),
    (
        "2000 and 4000 ({}) are open, and so is the difference from plain DIP with 8000, {}.",
        lambda: [
            of(f"{NOISY}/steps/4000", "trend_drop"),
            above(f"{NOISY}/steps/8000", f"{DIP}/steps/8000", "trend_drop"),
        ],
    ),
    (
        "SegNet's have {} dB at the last step, {} as a mean of 16, best {} at {} of the run.",
        lambda: [
            of(f"segnet-{PAIRS}", number)
            for number in ("final_psnr", "psnr", "best_psnr", "best_at")
        ],
    ),
    ("offset:* cosine | {} | {} | {} | {} | {} |", lambda: segnet("offset")),
    ("| linear | {} | {} | {} | {} | {} |", lambda: segnet("offset/rows/linear")),
    ("| DIP (one draw at t = 40) | {} | {} | {} | {} | {} |", lambda: segnet("offset/rows/DIP")),
    ("offset:* 20 guides | {} | {} | {} | {} | {} |", lambda: segnet("unbiased")),
    (
        "| 20 draws at t = 40 | {} | {} | {} | {} | {} |",
        lambda: segnet("unbiased/guides or draws/20 draws at t = 40"),
    ),
    (
        "| one draw at t = 40 | {} | {} | {} | {} | {} |",
        lambda: segnet("unbiased/guides or draws/1 draw at t = 40"),
    ),
    ("| *noisy observation:* DIP | {} | {} | {} | {} | {} |", lambda: segnet("dip")),
    ("| 20 guides as targets | {} | {} | {} | {} | {} |", lambda: segnet(NOISY)),
    ("| recorrupted guides | {} | {} | {} | {} | {} |", lambda: segnet(PAIRS)),
    ("best near its end there, too ({} of the run)", lambda: [of("segnet-offset", "best_at")]),
    # The report's claims
    (
        "| {} dB with cosine, {} with DIP, {} with linear |",
        lambda: [
            above("segnet-offset", OFFSET),
            above(f"{ROWS}/DIP", f"{OFFSET}/rows/DIP"),
            above(f"{ROWS}/linear", f"{OFFSET}/rows/linear"),
        ],
    ),
    (
        "over linear {} dB on UNet and {} on SegNet; over DIP {} and {} |",
        lambda: [
            above(OFFSET, f"{OFFSET}/rows/linear"),
            above("segnet-offset", f"{ROWS}/linear"),
            above(OFFSET, f"{OFFSET}/rows/DIP"),
            above("segnet-offset", f"{ROWS}/DIP"),
        ],
    ),
    (
        "SegNet loses {} dB after {} of the run; UNet {} after {} |",
        lambda: [
            of(f"{base}/rows/DIP", number)
            for base in ("segnet-offset", OFFSET)
            for number in ("trend_drop", "best_at")
        ],
    ),
    (
        "SegNet {} dB with cosine, {} with linear |",
        lambda: [of(base, "trend_drop") for base in ("segnet-offset", f"{ROWS}/linear")],
    ),
    (
        "PSNR by {} to {} times its usual change, the loss by {} to {} times |",
        lambda: [
            pick([of(base, number).mean for base in JUMPING])
            for number in ("psnr_jump", "loss_jump")
            for pick in (min, max)
        ],
    ),
    (
        "brighter by {} and {} of white; of the green",
        lambda: [of(base, "brightness_gain") for base in (OFFSET, f"{OFFSET}/rows/linear")],
    ),
    (
        "by {} of 255 on UNet, {} on SegNet |",
        lambda: [
            above(f"{base}/rows/linear", base, "early_sigma") for base in (OFFSET, "segnet-offset")
        ],
    ),
    (
        "Brighter they are by the offset: without it by {} and {}. With the report's code {}, "
        "open.",
        lambda: [
            of(CLEAN, "brightness_gain"),
            of(f"{CLEAN}/schedule/linear", "brightness_gain"),
            of(f"{OFFSET}/mode/eval, z and Adam anew", "brightness_gain"),
        ],
    ),
    (
        "from the single best step SegNet loses {} dB with cosine and {} with linear.",
        lambda: [of(base, "lost") for base in ("segnet-offset", f"{ROWS}/linear")],
    ),
    # With guides from the clean image
    ("| 20 guides, with the report's colour offset | {} | {} | {} |", lambda: row(OFFSET)),
    ("| 20 guides, without it | {} | {} | {} |", lambda: row(CLEAN)),
    ("with the offset (the report's DIP) | {} | {} | {} |", lambda: row(f"{OFFSET}/rows/DIP")),
    ("| one draw at t = 40, without it | {} | {} | {} |", lambda: row(ONE)),
    ("| 20 draws at t = 40, without it | {} | {} | {} |", lambda: row(DRAWS)),
    ("| 20 guides that share one noise | {} | {} | {} |", lambda: row(SHARED)),
    (
        "**The colour offset costs {} dB**, and plain DIP {}.",
        lambda: [above(CLEAN, OFFSET), above(ONE, f"{OFFSET}/rows/DIP")],
    ),
    (
        "more steps (8000: {}), a new optimiser at each stage ({}) and longer last stages "
        "(c = 1000: {}) help.",
        lambda: gains(OFFSET, "steps/8000", ADAM, "scale/1000"),
    ),
    (
        "Of the {} dB between the report's schedules {} are left without the offset.",
        lambda: [above(OFFSET, f"{OFFSET}/rows/linear"), above(CLEAN, f"{CLEAN}/schedule/linear")],
    ),
    (
        "have {} dB without any network, {} more than the fit to them, open; twenty draws at "
        "t = 40 have {} dB, {} more.",
        lambda: [
            of(CLEAN, "guides_psnr"),
            opposite(of(CLEAN, "over_guides")),
            of(DRAWS, "guides_psnr"),
            opposite(of(DRAWS, "over_guides")),
        ],
    ),
    (
        "to one linear draw {} dB; to twenty linear guides {}, open. With 8000 steps no difference "
        "is seen between one draw ({}) and twenty guides ({}): {}.",
        lambda: [
            of(f"{ONE}/schedule/linear", "over_guides"),
            of(f"{CLEAN}/schedule/linear", "over_guides"),
            of(f"{ONE}/steps/8000"),
            of(f"{CLEAN}/steps/8000"),
            above(f"{CLEAN}/steps/8000", f"{ONE}/steps/8000"),
        ],
    ),
    (
        "with one noise for all guides {} dB less, barely not open, and {} of it is in the picture "
        "instead of {}.",
        lambda: [above(CLEAN, SHARED), of(SHARED, "noise_kept"), of(CLEAN, "noise_kept")],
    ),
    (
        "{} dB over a random order that ends with the same guide, and {} with the offset.",
        lambda: [above(CLEAN, f"{CLEAN}/{IN_ORDER}"), above(OFFSET, f"{OFFSET}/{IN_ORDER}")],
    ),
    (
        "the fit ends there, too: {} dB less in a random one, {} less from the least noisy",
        lambda: costs(CLEAN, "guide_order/shuffled", "guide_order/least-noisy-first"),
    ),
    (
        "against twenty draws at one level {} dB, better on two pictures, worse on two. On SegNet "
        "the draws are {} dB better.",
        lambda: [
            above(CLEAN, DRAWS),
            above("segnet-unbiased/guides or draws/20 draws at t = 40", "segnet-unbiased"),
        ],
    ),
    (
        "({} with one, {} with five, {} with forty)",
        lambda: [of(f"{CLEAN}/count/{count}", "noise_kept") for count in (1, 5, 40)],
    ),
    (
        "Ten restore {} dB worse than twenty, two {}, one {}, open, forty {}, open.",
        lambda: costs(CLEAN, "count/10", "count/2", "count/1", "count/40"),
    ),
    (
        "With the offset five have {} dB, ten {}, forty {}.",
        lambda: gains(OFFSET, "count/5", "count/10", "count/40"),
    ),
    (
        "linear is {} dB below cosine, and sigmoid {} above, open (with the offset {}, open, and "
        "{}); linear from t = 500 that ends at 9.9 is {} below, open ({} with the offset).",
        lambda: [
            *costs(CLEAN, "equal ends/linear 130 to 9.9"),
            *gains(CLEAN, "equal ends/sigmoid 130 to 9.9"),
            *costs(OFFSET, "equal ends/linear 130 to 9.9"),
            *gains(OFFSET, "equal ends/sigmoid 130 to 9.9"),
            *costs(CLEAN, "equal ends/linear to 9.9"),
            *costs(OFFSET, "equal ends/linear to 9.9"),
        ],
    ),
    (
        "restores worse (t = 80: {} dB less), one with less (20) has {} dB, open; with the offset "
        "t = 10 brings {} dB, 20 {}, 80 costs {} and 200 {}.",
        lambda: [
            *costs(CLEAN, "end/80"),
            *gains(CLEAN, "end/20"),
            *gains(OFFSET, "end/10", "end/20"),
            *costs(OFFSET, "end/80", "end/200"),
        ],
    ),
    (
        "900 costs {} dB. Even shares of the steps (c = 0) cost {} dB, and {} with the offset.",
        lambda: [*costs(CLEAN, "start/900", "scale/0"), *costs(OFFSET, "scale/0")],
    ),
    (
        "A new optimiser at each stage brings {} dB without the offset, open. Redrawing z makes no "
        "difference that is seen: {} with the offset. **A last guide at t = 20 and a new optimiser "
        "together bring {} dB.**",
        lambda: [
            *gains(CLEAN, ADAM),
            *gains(OFFSET, "persistence/z redrawn"),
            *gains(CLEAN, "end and Adam/end at t = 20, Adam rebuilt"),
        ],
    ),
    (
        "Outputs in eval mode are {} dB below those in train mode ({} with the offset, open)",
        lambda: [above(f"{base}/mode/train", f"{base}/mode/eval") for base in (CLEAN, OFFSET)],
    ),
    # From one noisy observation
    ("| plain DIP | {} | {} | {} | {} |", lambda: row(DIP, "final_psnr")),
    ("| guides as targets, 20 | {} | {} | {} | {} |", lambda: row(NOISY, "final_psnr")),
    ("on the same UNet | {} | {} | {} | {} |", lambda: row(PAIRS, "final_psnr")),
    ("| the same with flips and turns | {} | {} | {} | {} |", lambda: row(FLIPPED, "final_psnr")),
    ("restore --effort fast` | {} | {} | {} | {} |", lambda: row("default", "final_psnr")),
    (
        "**The default is {} dB above plain DIP**, {} above guides as targets and {} above "
        "recorrupted guides",
        lambda: [above("default", base) for base in (DIP, NOISY, PAIRS)],
    ),
    (
        "With twice its steps it has {} dB, open, with eight times {}, barely not open.",
        lambda: gains("default", "work/400 steps", "work/1600 steps"),
    ),
    (
        "**Guides as targets bring little over plain DIP**: {} dB with 2000 steps, {} with 4000, "
        "{} with 8000. 4000 steps are {} dB above 2000 and {} above 8000, open. On SegNet "
        "they are {} dB worse than plain DIP.",
        lambda: [
            *(above(f"{NOISY}/steps/{steps}", f"{DIP}/steps/{steps}") for steps in STEPS),
            *gains(NOISY, "steps/4000"),
            above(f"{NOISY}/steps/4000", f"{NOISY}/steps/8000"),
            above("segnet-dip", f"segnet-{NOISY}"),
        ],
    ),
    (
        "and they have {}, {}, {} and {} dB. Of two only the first is left, t = 500, which is {} "
        "dB worse.",
        lambda: [
            *(of(f"{NOISY}/count/{count}") for count in (5, 10, 20, 40)),
            *costs(NOISY, "count/2"),
        ],
    ),
    (
        "end at 28.3 and are {} dB better than cosine ones, sigmoid at 25.9 and {}, open;",
        lambda: gains(NOISY, "schedule/linear", "schedule/sigmoid"),
    ),
    (
        "with the least noisy one last they are {} dB better, open, lose nothing at the end ({} "
        "instead of {} dB) and keep {} of the noise instead of {}. One noise for all of them costs "
        "{} dB; c = 1000 costs {}, even shares (c = 0) bring {}, open; the report's offset costs "
        "{}; a new optimiser at each stage brings {}, open, together with 4000 steps {}; a new z "
        "{}, open; outputs in eval mode cost {}, open.",
        lambda: [
            *gains(NOISY, IN_ORDER),
            of(f"{NOISY}/{IN_ORDER}", "trend_drop"),
            of(NOISY, "trend_drop"),
            of(f"{NOISY}/{IN_ORDER}", "noise_kept"),
            of(NOISY, "noise_kept"),
            *costs(NOISY, "guide_noise/shared", "scale/1000"),
            *gains(NOISY, "scale/0"),
            *costs(NOISY, "convention/offset"),
            *gains(NOISY, ADAM, "steps and Adam/4000 steps, Adam rebuilt"),
            *gains(NOISY, "persistence/z redrawn"),
            above(f"{NOISY}/mode/train", f"{NOISY}/mode/eval"),
        ],
    ),
    (
        "do nothing for the report's UNet** that is seen: {} dB over DIP. Flips and turns of each "
        "pair bring {} dB to the restoration and {} to single outputs:",
        lambda: [above(PAIRS, DIP), above(FLIPPED, PAIRS), above(FLIPPED, PAIRS, "final_psnr")],
    ),
    (
        "and in which order, changes up to {} dB without them.",
        lambda: [
            largest(
                gains(
                    PAIRS,
                    *(f"count/{count}" for count in (1, 2, 5, 10, 40)),
                    *(f"strength/{s}" for s in ("2 to 1", "0.5 throughout", "1 throughout")),
                    *("guide_order/least-noisy-first", "guide_order/shuffled", IN_ORDER),
                )
            )
        ],
    ),
    (
        "The default without flips and turns has {} dB less, barely not open.",
        lambda: costs("default", "augmentation/none"),
    ),
    # Which setting for which use
    (
        "| the default | {} dB over guides as targets, {} over DIP |",
        lambda: [above("default", NOISY), above("default", DIP)],
    ),
    ("of `fast`, twice the steps | {} dB, open |", lambda: gains("default", "work/400 steps")),
    ("`--preset report --set noise_convention=unbiased` | {} dB |", lambda: [above(CLEAN, OFFSET)]),
    (
        "with `rebuild_optimizer=true` and `end=20` | {} dB |",
        lambda: gains(CLEAN, "end and Adam/end at t = 20, Adam rebuilt"),
    ),
    (
        "the mean of twenty is {} dB above a fit to them; a fit to one is {} above that one with "
        "8000 steps, open |",
        lambda: [opposite(of(DRAWS, "over_guides")), of(f"{ONE}/steps/8000", "over_guides")],
    ),
    (
        "| 4000 steps {} dB, with a new optimiser, too, {}; 5 guides {} less than 20, 10 {}; the "
        "offset {} |",
        lambda: [
            *gains(NOISY, "steps/4000", "steps and Adam/4000 steps, Adam rebuilt"),
            *costs(NOISY, "count/5", "count/10", "convention/offset"),
        ],
    ),
]


def places_of(said):
    """Find where the text says it."""
    pattern = NUMBER.join(re.escape(part) for part in said.split("{}"))
    return list(re.finditer(pattern, TEXT))


def as_written(found, written):
    """Write what was found with the digits, the sign and the interval of what is written."""
    mean, half = (found, None) if isinstance(found, float) else (found.mean, found.half)
    number, *spread = written.split(" ± ")
    digits = len(number.rstrip("%").partition(".")[2])
    scale, unit = (100, "%") if number.endswith("%") else (1, "")
    text = f"{abs(mean) * scale:.{digits}f}{unit}"
    if text.strip("0.%"):  # what has no sign is more than nothing
        text = MINUS + text if mean < 0 else "+" + text if number[0] in f"+{MINUS}" else text
    return text + "".join(f" ± {half:.{len(part.partition('.')[2])}f}" for part in spread)


@pytest.mark.parametrize(("said", "numbers"), SAID, ids=[said[:40] for said, _ in SAID])
def test_numbers_said_are_those_of_the_tables(said, numbers):
    (place,) = places_of(said)
    written, found = list(place.groups()), numbers()
    assert written == [as_written(*pair) for pair in zip(found, written, strict=True)]
    for each, after in zip(found, said.split("{}")[1:], strict=True):
        if re.match(r"[^,;.(){}|]*, open\b", after):
            assert each.sign == 0
        elif re.match(r"[^;.(){}|]*, barely not open\b", after):
            assert each.sign != 0


def test_every_interval_said_is_held_against_the_tables():
    held = [place.span() for said, _ in SAID for place in places_of(said)]
    found = list(re.finditer(SPREAD, TEXT))
    assert len(found) > 100
    loose = [
        TEXT[max(0, place.start() - 60) : place.end()]
        for place in found
        if not any(start <= place.start() and place.end() <= end for start, end in held)
    ]
    assert loose == []


def test_verdicts_said_are_those_of_the_page():
    results = json.loads((FOLDER / RESULTS).read_text(encoding="utf-8"))
    found = {claim["claim"][:3]: claim["verdict"] for claim in results["claims"]}
    said = dict(re.findall(r"\| (\([a-g]\)) [^|]* \| ([a-z ]+) \|", TEXT))
    assert sorted(said) == [f"({letter})" for letter in "abcdefg"]
    assert said == {letter: found[letter] for letter in said}
