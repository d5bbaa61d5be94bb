"""Settings of one restoration: validated once, at the edge; presets; load and save.

A `Config` is flat and immutable. Where a field is None, its value follows from the image or the
machine and is filled in by `guided_dip.restoration.prepare`, whose resolved config is the one that
is saved with a run. A preset is a set of values with a name: the efforts `fast`, `balanced` and
`best`, and the report's experiment as its text (`report`) and its code (`author`) have it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from guided_dip.diffusion import LOWER_CLIP, Convention, ScheduleName
from guided_dip.errors import InputError, choices, instead, quoted
from guided_dip.guidance import GuideOrder, Supervision
from guided_dip.noise import parse_noise
from guided_dip.sizing import FIRST_ON_SQUARES, Footprint, Sizes, choose, parse_bytes
from guided_dip.white import White, parse_white

Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """Every setting of a restoration. The field descriptions are the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    # Where input and target come from
    supervision: Supervision = Field(
        "recorrupted-guides", description="where input and target of each step come from"
    )
    noise: str = Field(
        "auto",
        description="noise of the image: auto, none, gaussian:SIGMA, poisson:PEAK (photons at "
        "white) or poisson-gaussian:GAIN,READ; SIGMA, GAIN and READ are 255ths of white; if "
        "nothing is said: auto, of the tasks inpaint and super-resolve none",
    )
    white: Annotated[White, BeforeValidator(parse_white)] = Field(
        "auto",
        description="value of the image that is white, in its own units, such as 4095, or type: "
        "the largest of an integer type, 1.0 of floats; auto: that, but of more than 8 bits of "
        "which less than an eighth is used the largest value of the fewest bits that hold them",
    )
    check_noise: bool = Field(
        True,
        description="hold a stated gaussian level against the image, and take what that shows if "
        "the two differ, by up to a third; false: take what is stated",
    )
    grain: Literal["auto", "white", "correlated"] = Field(
        "auto",
        description="whether the noise of neighbouring pixels is correlated, as cameras and "
        "compression make it; auto: found out if noise is auto, else white",
    )
    task: Literal["denoise", "inpaint", "deblur", "super-resolve", "dejpeg", "degain", "invert"] = (
        Field(
            "denoise",
            description="what is wrong with the image: noise, missing pixels (a mask), a blur, "
            "that it is small, what JPEG took away, an uneven gain, or what an operator of your "
            "own did (from Python)",
        )
    )
    enlarge: Annotated[int, Field(ge=2, le=8)] | None = Field(
        None, description="how many times as large a small image becomes; None: 2"
    )
    downsampling: Literal["area", "bicubic", "lanczos"] = Field(
        "lanczos", description="how it was made small"
    )
    kernel: str | None = Field(
        None, description="the blur: gaussian:SIGMA (pixels) or motion:LENGTH,ANGLE (degrees)"
    )
    nan_as_missing: bool = Field(
        False, description="take NaN and infinite pixels as missing, and fill them in"
    )

    # The plan
    schedule: ScheduleName = Field("cosine", description="beta schedule")
    lower_clip: Fraction = Field(LOWER_CLIP, description="smallest beta (the report's code: 1e-4)")
    noise_convention: Convention = Field(
        "unbiased", description="what is done about images in [0, 1] in the forward process"
    )
    effort: Literal["fast", "balanced", "best"] = Field(
        "balanced", description="the dial between time and quality: sets what is left open below"
    )
    steps: Count | None = Field(None, description="iterations in all; None: by effort and size")
    restarts: Count | None = Field(
        None, description="fits from fresh weights, whose mean is the result; None: by steps"
    )
    count: Count = Field(5, description="number of guides")
    start: int = Field(500, ge=0, description="timestep of the most noisy guide")
    end: int = Field(40, ge=0, description="timestep of the least noisy guide")
    scale: NotNegative | None = Field(
        None, description="c of the iteration generator; None: 400 (cosine), 250 (others)"
    )
    guide_order: GuideOrder = Field(
        "most-noisy-first", description="order of the guides, to compare with the method's own"
    )
    guide_noise: Literal["fresh", "shared"] = Field(
        "fresh",
        description="noise of clean and observation guides: drawn afresh for each, or once for all",
    )
    a_start: Positive = Field(2.0, description="recorruption strength of the first guide")
    a_end: Positive | None = Field(
        None,
        description="recorruption strength of the last guide; None: 0.5, or more where light is "
        "counted in a few photons",
    )
    hide_start: Fraction = Field(
        0.5,
        description="part of the known pixels that the first guide hides, where some are missing",
    )
    hide_end: Fraction = Field(
        0.1,
        description="part of the known pixels that the last guide hides, where some are missing",
    )
    patch: int | None = Field(
        None,
        ge=0,
        description="side of the random squares that the first recorrupted guides are fitted to, "
        "which makes for more steps in the same time; 0: the whole image; None: by size and memory",
    )
    patch_guides: int | None = Field(
        None,
        ge=0,
        description="number of guides fitted to such squares; None: 2, or all of a large image",
    )

    # The network
    backbone: str = Field(
        "normfree",
        description="normfree, unet, segnet, skip, deep-decoder, or module:callable",
    )
    backbone_options: dict[str, Any] | None = Field(
        None, description="keywords of the backbone's constructor; None: by effort"
    )
    redraw_z: bool = Field(False, description="draw z anew at each stage")
    jitter: NotNegative | None = Field(
        None, description="std of the noise added to z at each step; None: the backbone's own"
    )

    # The fit
    optimizer: Literal["adam", "adamw", "muon"] = Field(
        "muon", description="optimiser; muon: of the convolutions, with AdamW for the rest"
    )
    learning_rate: Positive | None = Field(
        None, description="(peak) learning rate of Adam or AdamW; None: by steps and noise"
    )
    muon_learning_rate: Positive | None = Field(
        None, description="(peak) learning rate of Muon; None: by steps and noise"
    )
    learning_rate_schedule: Literal["constant", "cosine", "one-cycle", "linear"] = Field(
        "linear", description="how the learning rate goes over the run"
    )
    weight_decay: NotNegative = Field(0.01, description="weight decay of AdamW and Muon")
    clip_gradients: Positive | None = Field(None, description="largest gradient norm")
    rebuild_optimizer: bool = Field(False, description="start the optimiser anew at each stage")
    reset_batchnorm: bool = Field(False, description="reset running statistics at each stage")
    flips_and_turns: bool = Field(
        True, description="random flips and quarter turns of each step's input and target"
    )

    # The result
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        1.0, description="share of the restoration in the result; the rest is the input"
    )
    weight_average: Fraction = Field(0.0, description="decay of the weights' running mean; 0: off")
    output_average: Fraction = Field(0.0, description="decay of the outputs' running mean; 0: off")
    final_draws: Count = Field(16, description="outputs averaged in the end, where they differ")
    stopping: Literal["none", "es-wmv", "es-emv"] = Field(
        "none", description="early-stopping rule, to compare with"
    )

    # What is measured, and when
    measure: Literal["before", "after"] = Field(
        "before", description="take each step's output before or after the update"
    )
    eval_mode: bool = Field(False, description="take outputs in eval mode (training stays as is)")
    quantize: Literal["none", "truncate"] = Field(
        "none", description="pixels that are scored: float, or 8-bit truncated toward zero"
    )
    resize: Count | None = Field(
        None, description="resize to this many pixels square first (Pillow's bicubic)"
    )

    # The machine
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="arithmetic of the network; auto: bfloat16 where it is fast"
    )
    threads: Count | None = Field(None, description="CPU threads; None: as many as PyTorch takes")
    max_memory: str | None = Field(
        None,
        description="most memory that a run may take, such as 3GiB or 800MB (on a GPU: there); "
        "larger images are looked at in smaller parts; None: half of the machine's",
    )
    tile: int | None = Field(
        None,
        ge=0,
        description="side of the tiles in which final outputs are computed; 0: the whole image at "
        "once; None: by size and memory",
    )
    pages: Count = Field(
        1,
        description="pages of a stack, of one height, that lie below one another in the image: one "
        "network is fitted to random squares of all of them",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random draw")

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        parse_noise(self.noise)
        if self.max_memory is not None:
            parse_bytes(self.max_memory)
        if self.a_end is not None and self.a_end > self.a_start:
            raise ValueError(
                f"recorruption goes from strong to weak: a_start ({self.a_start:g}) must be at "
                f"least a_end ({self.a_end:g})"
            )
        return self

    @property
    def white_value(self) -> float | None:
        """Value of the image that is white; None: its type's."""
        return None if isinstance(self.white, str) else self.white

    @property
    def oracle(self) -> bool:
        """Whether the restoration is allowed to see the clean image."""
        return self.supervision == "clean-guides"

    def replace(self, **changes: Any) -> Config:
        """Return a config with some settings changed, validated anew.

        Parameters
        ----------
        **changes
            Settings by name.

        Raises
        ------
        InputError
            If one is unknown, or of a value that it cannot have.
        """
        return make_config(self.model_dump() | changes)


# What the report's text states, and what both of its readings share.
_REPORT: dict[str, Any] = {
    "supervision": "clean-guides",
    "noise_convention": "offset",
    "lower_clip": LOWER_CLIP,
    "steps": 2000,
    "count": 20,
    "start": 500,
    "end": 40,
    "backbone": "unet",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "flips_and_turns": False,
    "final_draws": 1,
    "precision": "float32",
}
# Where the report's code differs from its text.
_AUTHOR: dict[str, Any] = {
    "redraw_z": True,
    "rebuild_optimizer": True,
    "measure": "after",
    "eval_mode": True,
    "quantize": "truncate",
    "resize": 128,
}

# Peak rates that carry recorrupted guides, in so many steps, as far as a fit should go at sigma 25:
# further on it learns the noise. In more steps they are smaller, so that the way is as long.
_RATE, _MUON_RATE = 3e-3, 0.02
_STEPS, _SIGMA = 400, 25 / 255
# Noise of a blurred picture that hides little of what is to be learned: 600 steps at full rates
# made 26.32 dB of the cameraman at 2 of 255, else 25.82; at 10, 23.83 and 23.93.
_WEAK = 4 / 255
_LARGEST = 2.0  # times these rates, in fewer steps; on squares more of it would diverge
_ON_SQUARES = 900  # steps of a fit at these rates, all on squares of a large image: as many as at
# most on a small one; at the full rates 12 megapixels diverged after 1500 of 4557
_FIT_STEPS = 400  # of a fit at 256 x 256 pixels; twice as many are better spent on a second one,
# but at sigma 15: there kodim03 ends at 36.33 dB in one fit of 800, 35.21 in two of 400
_WEAKEST = 0.5  # recorruption; 0.8 ends 0.1 to 0.2 dB lower at sigma 25
_BLUR_OF_COUNTS = 1.2  # of their distance; with less, pictures of 0.4 and 1.7 photons over-fit

# Tasks in which pixels are taken for right where nothing is said of their noise: who has a scratch
# removed wants the rest as it is, and what is noise and what detail in a small picture is hard to
# tell.
_KEEPS_PIXELS = ("inpaint", "super-resolve")
# What is left of a blur lies in its direction, and what fills a hole in, in that of what is around:
# one long fit, of the picture as it lies. Without flips and turns half of Barbara (a crop) gained
# 1.6 dB, and the cameraman, moved by 15 pixels, 0.9; half of house (a crop) lost 0.2.
_AS_IT_LIES: dict[str, Any] = {"restarts": 1, "flips_and_turns": False}

# Plain DIP's own procedure (Ulyanov et al., CVPR 2018, denoising), for every supervision whose
# network is fed with z; the defaults of `Config` are those of recorrupted guides.
_FROM_Z: dict[str, Any] = {
    "backbone": "skip",
    "steps": 1800,
    "count": 20,
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "learning_rate_schedule": "constant",
    "flips_and_turns": False,
    "final_draws": 1,
}


@dataclass(frozen=True)
class Effort:
    """What an effort fills in, and what came of it.

    Attributes
    ----------
    work
        Number of iterations at 256 x 256 pixels, those on a square counted by its share of these.
    normfree
        The network's options.
    psnr, seconds
        Mean over Kodak's twelve crops of 256 x 256 pixels at sigma 25, level told, in dB, and the
        median time of one on one thread of a busy machine, by `MEASURED_BY`; None: not measured.
    """

    work: int
    normfree: dict[str, Any]
    psnr: float | None = None
    seconds: int | None = None


NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
MEASURED_BY = "guided-dip benchmark kodak256 --noise gaussian:25 --methods"
EFFORTS = {
    "fast": Effort(200, {"width": 32, "scales": 4}, 31.31, 29),
    "balanced": Effort(800, {"width": 48, "scales": 4}, 31.80, 276),
    "best": Effort(1600, {"width": 48, "scales": 4}),
}
#: What the presets set, by name: the efforts `fast`, `balanced` and `best`, and the report's
#: procedure by its text (`report`) and by its code (`author`). Keywords of `Config`.
PRESETS: dict[str, dict[str, Any]] = {
    **{name: {"effort": name} for name in EFFORTS},
    "report": _REPORT,
    "author": _REPORT | _AUTHOR,
}


def make_config(settings: Mapping[str, Any] | None = None, *, preset: str | None = None) -> Config:
    """Validate settings, on top of a preset's if one is named.

    Without the report's presets, the defaults are those of the supervision: plain DIP's procedure
    for the ones that feed the network with z.

    Parameters
    ----------
    settings
        By name, as fields of `Config`; they go before the preset's. None: no more than that.
    preset
        A key of `PRESETS`: an effort, ``report`` or ``author``.

    Returns
    -------
    Config
        Validated; what follows from an image or a machine is still left open.

    Raises
    ------
    InputError
        One line that names the offending key, what was given, and what is allowed.

    Examples
    --------
    >>> make_config({"noise": "gaussian:25"}).supervision
    'recorrupted-guides'
    >>> make_config(preset="report").steps
    2000
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS:
            raise InputError(f"unknown preset '{preset}': {choices(preset, PRESETS)}")
        values |= PRESETS[preset]
    values |= settings or {}
    if values.get("task") in _KEEPS_PIXELS:
        values = {"noise": "none"} | values
    filled_in = values.get("task") == "inpaint" and _is_none(values["noise"])
    if filled_in or values.get("task") == "deblur":
        values = _AS_IT_LIES | values
    if values.get("supervision", "recorrupted-guides") != "recorrupted-guides":
        values = _FROM_Z | values
    for key in values:
        if key not in Config.model_fields:
            hint = choices(str(key), Config.model_fields)
            raise InputError(f"unknown setting {quoted(str(key))}: {hint}")
    try:
        return Config(**values)
    except ValidationError as error:
        raise InputError(_one_line(error)) from None


def _is_none(noise: Any) -> bool:
    """Tell whether a noise setting says that there is none."""
    model = parse_noise(str(noise)) if isinstance(noise, str) else None
    return model is not None and not model.even_sigma


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return str(first["msg"]).removeprefix("Value error, ")
    key, given = first["loc"][0], quoted(first["input"])
    if first["type"] == "literal_error":
        allowed = [str(name) for name in _allowed(str(key))]
        return f"{key} cannot be {given}: {choices(str(first['input']), allowed)}"
    return f"{key} cannot be {given}: {instead(first)}"


def _allowed(key: str) -> tuple[Any, ...]:
    from typing import get_args

    return get_args(Config.model_fields[key].annotation)


def load(path: str | Path) -> Config:
    """Read a config from a YAML file, as `save` writes it.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Config

    Raises
    ------
    InputError
        If the file cannot be read or a key or value in it is wrong.
    """
    values = read_yaml(path, "config")
    if not isinstance(values, dict):
        raise InputError(f"the config {path} is not a list of lines such as 'steps: 500'")
    try:
        return make_config({str(key): value for key, value in values.items()})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_yaml(path: str | Path, what: str) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    what
        It is, for messages.

    Returns
    -------
    Any
        What it holds: plain lists, mappings, texts and numbers.

    Raises
    ------
    InputError
        If it cannot be read; one line that says where it is wrong.
    """
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        # ValueError: text that is not UTF-8, or a date that is in no calendar
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            reason = f"line {error.problem_mark.line + 1}: {error.problem}"
        elif isinstance(error, FileNotFoundError):
            reason = "no such file; try checking the name"
        elif isinstance(error, OSError):
            reason = str(error.strerror)
        elif isinstance(error, UnicodeDecodeError):
            reason = "it is no text; try a YAML file"
        raise InputError(f"cannot read the {what} {path}: {reason}") from None


def dump(config: Config) -> str:
    """Return a config as YAML.

    Parameters
    ----------
    config
        It.

    Returns
    -------
    str
        A line ``name: value`` for each setting, as `load` reads them.
    """
    return yaml.safe_dump(config.model_dump(), sort_keys=False)


def fill_in(
    config: Config,
    *,
    size: tuple[int, int],
    channels: int = 3,
    sigma: float | None = None,
    photons: float | None = None,
    memory: int | None = None,
    network: Mapping[str, Any] = NO_OPTIONS,
    reach: int = 0,
) -> Config:
    """Return the config with what effort, image size and noise level leave open filled in.

    Parameters
    ----------
    config
        Settings.
    size
        Height and width of the image in pixels. Larger images need fewer iterations, since each
        shows the network more of the same.
    channels
        Of the image.
    sigma
        Noise level in the fit's units; None if it is not known, or of no account.
    photons
        Light of a middling pixel; None if it is not counted.
    memory
        Most that the machine has for it, in bytes; None if that is of no account. What the config
        itself states goes first.
    network
        Options of the project's own network besides those of the effort, or those that are given
        where they do not say otherwise.
    reach
        Pixels by which the image that is wanted is larger at each side.

    Raises
    ------
    InputError
        If the memory that is stated does not suffice.

    Examples
    --------
    >>> config = fill_in(make_config(preset="fast"), size=(256, 256), sigma=25 / 255)
    >>> config.steps, config.patch
    (440, 128)
    """
    effort = EFFORTS[config.effort]
    shrink = min(1.0, 256 * 256 / math.prod(size)) ** 0.4
    sizes = _sizes(config, size, channels, memory, reach)
    patch = sizes.patch or 0
    # Guides share the work about evenly; a step on a square is little of it.
    on_squares = min(sizes.guides or 0, config.count) / config.count if patch else 0.0
    steps_a_work = 1 + on_squares * (math.prod(size) / max(1, patch) ** 2 - 1)
    usual = max(1.0, _FIT_STEPS * shrink * _longer(sigma))
    steps = config.steps or max(1, round(effort.work * shrink * steps_a_work))
    work = steps / steps_a_work
    recorrupted = config.supervision == "recorrupted-guides"
    restarts = config.restarts or (max(1, round(work / usual)) if recorrupted else 1)
    share = min(_rate_share(work / restarts / shrink, sigma), 1.0 if patch else _LARGEST)
    if config.task == "inpaint" and _is_none(config.noise):
        share = 1.0
    elif config.task == "deblur" and sigma:
        share = max(share, min(1.0, _WEAK / sigma))
    if on_squares == 1:
        share = min(share, _ON_SQUARES * restarts / steps)
    filled: dict[str, Any] = {
        "a_end": min(config.a_start, _weakest_strength(photons)),
        "patch": patch,
        "patch_guides": sizes.guides,
        "tile": sizes.tile,
        "steps": steps,
        "restarts": restarts,
        "backbone_options": effort.normfree | dict(network) if _own_network(config) else {},
        "learning_rate": _RATE * share,
        "muon_learning_rate": _MUON_RATE * share,
    }
    missing = {key: value for key, value in filled.items() if getattr(config, key) is None}
    if network and config.backbone_options is not None and _own_network(config):
        missing["backbone_options"] = dict(network) | config.backbone_options
    return config.replace(**missing)


def _own_network(config: Config) -> bool:
    return config.backbone == "normfree" and config.supervision == "recorrupted-guides"


def _sizes(
    config: Config, size: tuple[int, int], channels: int, memory: int | None, reach: int
) -> Sizes:
    """Return what the fit and its outputs look at, at a time."""
    given = Sizes(config.patch, config.patch_guides, config.tile)
    in_parts = config.stopping == "none" and not config.output_average
    if not _own_network(config) or not in_parts:
        if config.pages > 1:
            raise InputError(
                "pages are restored together by recorrupted guides on the backbone normfree, "
                "without stopping or output_average: restore them one by one"
            )
        if config.max_memory is not None:
            raise InputError(
                "max_memory is for recorrupted guides on the backbone normfree, without stopping "
                "or output_average, as others need the whole image: leave it out"
            )
        first = min(FIRST_ON_SQUARES, config.count - 1) if config.patch else 0
        return Sizes(config.patch or 0, given.guides if given.guides is not None else first, 0)
    options = EFFORTS[config.effort].normfree | (config.backbone_options or {})
    width, precision = options.get("width"), config.precision
    footprint = Footprint(
        size,
        channels,
        width if isinstance(width, int) else 48,
        "float32" if precision == "auto" else precision,
        on_gpu=config.device.startswith("cuda"),
        pages=config.pages,
        reach=reach,
    )
    stated = None if config.max_memory is None else parse_bytes(config.max_memory)
    limit = memory if stated is None else stated
    return choose(
        given,
        footprint,
        config.count,
        limit=limit,
        stated=stated is not None,
        squares=config.task in ("denoise", "inpaint"),
    )


def _weakest_strength(photons: float | None) -> float:
    """Return the strength at which recorruption ends.

    Pixels that counted a few photons have one of a few values, about ``1 / sqrt(photons)`` of the
    noise apart. Noise too weak to blur these lets the network tell which of them the input had, and
    so the noise of its target.
    """
    if photons is None:
        return _WEAKEST
    return max(_WEAKEST, _BLUR_OF_COUNTS / math.sqrt(max(photons, 1e-3)))


def _longer(sigma: float | None) -> float:
    """Return how many times the usual steps a fit is worth: weak noise leaves more to be learned.

    Parameters
    ----------
    sigma
        Noise level; None if it is not known.
    """
    return max(1.0, _SIGMA / sigma) if sigma else 1.0


def _rate_share(steps: float, sigma: float | None) -> float:
    """Return what part of the usual peak rates goes the right way in so many steps.

    Parameters
    ----------
    steps
        Those of an image of 256 x 256 pixels, on all of it.
    sigma
        Noise level; strong noise is learned sooner, so the way is shorter.
    """
    stronger = 1.0 if sigma is None else max(1.0, sigma / _SIGMA)
    return _STEPS / math.sqrt(stronger) / steps
