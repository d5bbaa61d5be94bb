"""Options that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Task = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="denoise, inpaint, super-resolve, deblur, dejpeg or degain.  [default: what "
        "--mask, --scale, --kernel or --gain is for, or denoise]",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A picture, white where pixels are to be filled in."),
]
InvertMask = Annotated[
    bool, typer.Option("--invert-mask", help="The mask is black where they are.")
]
Scale = Annotated[
    int | None,
    typer.Option(metavar="N", min=2, max=8, help="How many times as large a picture becomes."),
]
Kernel = Annotated[
    str | None,
    typer.Option(
        metavar="KERNEL",
        help="The blur to undo: gaussian:SIGMA (pixels), motion:LENGTH,ANGLE (degrees, "
        "counter-clockwise) or a picture of it.",
    ),
]
Gain = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A picture of what each pixel was multiplied by; white is 1."
    ),
]
Noise = Annotated[
    str | None,
    typer.Option(
        metavar="NOISE",
        help="auto (estimated), none, gaussian:SIGMA, poisson:PEAK (photons at white) or "
        "poisson-gaussian:GAIN,READ; SIGMA, GAIN and READ are 255ths of white.  [default: auto; "
        "of inpaint and super-resolve none]",
    ),
]
White = Annotated[
    str | None,
    typer.Option(
        metavar="VALUE",
        help="The value of IN that is white, in its own units, such as 4095; or type: 65535 of 16 "
        "bits, 1.0 of floats.  [default: auto: the type's, but of dim pictures of more than 8 bits "
        "the largest value of the fewest bits that hold them]",
    ),
]
Supervision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="recorrupted-guides, observation-guides, observation (plain DIP) or clean-guides "
        "(the report's experiment: IN is taken as clean).  [default: recorrupted-guides]",
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="normfree, skip, unet, segnet, deep-decoder or your own module:callable.  "
        "[default: normfree]",
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="cosine, linear or sigmoid.  [default: cosine]"),
]
Steps = Annotated[
    int | None,
    typer.Option(metavar="N", help="Iterations in all.  [default: by effort and size]"),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Of every random draw.  [default: 0]")]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.  [default: auto]"),
]
Effort = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="fast, balanced or best.  [default: balanced]"),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The report's experiment, as its text (report) or its code (author) has it.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML settings, such as the config.yaml of a run."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated."),
]
Strength = Annotated[
    float | None,
    typer.Option(metavar="0...1", help="Share of the restoration; the rest is IN.  [default: 1]"),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="Most memory to take, such as 3GiB or 800MB: a picture that needs more is fitted "
        "and put together in parts.  [default: half of the machine's]",
    ),
]
Joint = Annotated[bool, typer.Option("--joint", help="One network for all pages of a TIFF file.")]
NanAsMissing = Annotated[
    bool, typer.Option("--nan-as-missing", help="Fill NaN and infinite pixels in.")
]
MaxPixels = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Most pixels a picture may have.  [default: 2^28]"),
]
CheckpointEvery = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How often the run folder gets one.")
]
Executor = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Who restores: local (processes of this machine), ray or slurm (both extras).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Pictures, or Slurm jobs, at a time.  [default: one a GPU, else one a core; 100 jobs]",
    ),
]
Together = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Pictures of one size that a worker computes as one; others are as good, not the same "
        "bytes.  [default: 4 on a GPU, else 1]",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Of the Ray cluster: auto, HOST:PORT, or local for one started here.  "
        "[default: RAY_ADDRESS]",
    ),
]
Gpus = Annotated[
    float,
    typer.Option(metavar="F", min=0, help="GPUs of a worker on Ray or Slurm; 0.25: four a GPU."),
]
PerJob = Annotated[
    int, typer.Option(metavar="N", min=1, help="Pictures of a Slurm job, one after another.")
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="What Slurm is asked for, such as partition=gpu or time=120; may be repeated.  "
        "cluster=local tries it on this machine, without a Slurm.",
    ),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Stop when a picture fails, instead of going on.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
