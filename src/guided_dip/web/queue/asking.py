"""From what a user asks for to orders that a worker can carry out, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.batch.work import Orders
from guided_dip.errors import InputError
from guided_dip.jobs.asked import check_joint, of_the_task, settings_of
from guided_dip.jobs.beside import NAMED
from guided_dip.region import parse_region
from guided_dip.web.jobs import NewJob, Role
from guided_dip.web.limits import Limits
from guided_dip.web.models import JobSettings
from guided_dip.web.queue.records import SUFFIXES

if TYPE_CHECKING:
    from guided_dip.config import Config

# Settings of the machine, and what could take more of it than a job may.
MACHINE = ("device", "threads", "max_memory", "tile")
LARGEST = {"steps": 1_000_000, "count": 200, "restarts": 64, "final_draws": 1024, "resize": 4096}
CHECKPOINT_EVERY = 30.0  # seconds
TOLD_EVERY = 0.5
PREVIEW_EVERY = 2.0


def config_of(settings: JobSettings, roles: Mapping[Role, Path]) -> Config:
    """Return the config of what is asked for, as the command line makes it.

    Parameters
    ----------
    settings
        What is asked for.
    roles
        The files that there are.

    Raises
    ------
    InputError
        If a setting is not usable, or is not for users of a server.
    """
    _check_allowed(settings)
    kernel = settings.kernel
    if kernel is not None and not kernel.startswith(NAMED):
        raise InputError(
            f"kernel '{kernel}': try gaussian:SIGMA or motion:LENGTH,ANGLE, or give a picture of it"
        )
    if kernel is not None and "kernel" in roles:
        raise InputError("the kernel is given twice, in words and as a picture: leave out one")
    if kernel is None and "kernel" in roles:
        kernel = str(roles["kernel"])
    task = of_the_task(
        settings.task,
        mask=roles.get("mask"),
        scale=settings.scale,
        kernel=kernel,
        gain=roles.get("gain"),
    )
    said: dict[str, Any] = {
        name: getattr(settings, name) for name in ("noise", "white", "seed", "effort", "strength")
    }
    config = settings_of(task | said, settings.settings, preset=settings.preset)
    for name, largest in LARGEST.items():
        value = getattr(config, name)
        if value is not None and value > largest:
            raise InputError(f"{name} cannot be {value}: at most {largest:,} here")
    return config


def check(new: NewJob, limits: Limits) -> None:
    """Refuse what cannot be done, or is too much.

    Parameters
    ----------
    new
        What is asked for.
    limits
        What anyone may ask for.

    Raises
    ------
    InputError
        If so.
    """
    settings, image = new.settings, new.files["image"]
    for role, upload in new.files.items():
        if upload.format not in SUFFIXES:
            raise InputError(f"{upload.name}: no {upload.format} is restored here; try PNG or TIFF")
        if role != "image" and role != "clean" and upload.pages > 1:
            raise InputError(f"{upload.name}: has {upload.pages} pages; try one of them")
    config = config_of(settings, {role: upload.path for role, upload in new.files.items()})
    if settings.joint:
        check_joint(image.name, settings.page, image.pages)
    if settings.page is not None and settings.page >= image.pages:
        raise InputError(f"page {settings.page}: {image.name} has pages 0 to {image.pages - 1}")
    if settings.region is not None:
        parse_region(settings.region)
    if settings.time_budget is not None and settings.time_budget > limits.seconds:
        raise InputError(
            f"a time budget of {settings.time_budget:g} s is more than the {limits.seconds:g} s a "
            "job may take here: try less"
        )
    scale = (config.enlarge or 2) if config.task == "super-resolve" else 1
    pages = 1 if settings.page is not None else image.pages
    pixels = image.width * image.height * pages * scale**2
    if pixels > limits.pixels:
        raise InputError(
            f"{image.name}: would be {pixels:,} pixels, more than the {limits.pixels:,} allowed "
            "here: try a crop, or a smaller scale"
        )


def orders_of(
    settings: JobSettings,
    roles: Mapping[Role, Path],
    limits: Limits,
    *,
    threads: int = 1,
    pages: int = 1,
    hooks: object = None,
) -> Orders:
    """Return what a worker is to do.

    Parameters
    ----------
    settings
        What is asked for.
    roles
        Its files.
    limits
        What anyone may ask for.
    threads
        With which it is computed.
    pages
        Of its picture.
    hooks
        What else is made of it, as `Orders` has it.

    Raises
    ------
    InputError
        As `config_of`.
    """
    each = 1 if settings.joint or settings.page is not None else pages
    most = limits.seconds / each
    return Orders(
        config_of(settings, roles).replace(threads=threads),
        mask=roles.get("mask"),
        kernel=roles.get("kernel"),
        gain=roles.get("gain"),
        invert_mask=settings.invert_mask,
        joint=settings.joint,
        max_pixels=limits.pixels,
        checkpoint_every=CHECKPOINT_EVERY,
        keep_runs=True,
        clean=roles.get("clean"),
        page=settings.page,
        region=settings.region,
        time_budget=min(settings.time_budget or most, most),
        preview_every=PREVIEW_EVERY,
        told_every=TOLD_EVERY,
        hooks=hooks,
    )


def _check_allowed(settings: JobSettings) -> None:
    """Refuse what would run a user's code, or is the machine's."""
    for name in MACHINE:
        if name in settings.settings:
            raise InputError(f"{name} is the server's own setting: leave it out")
    if "pages" in settings.settings:
        raise InputError("pages cannot be set: try joint")
    backbone = str(settings.settings.get("backbone", ""))
    if ":" in backbone or "." in backbone or "/" in backbone:
        raise InputError(
            f"backbone '{backbone}': only the project's own networks are fitted here, such as "
            "normfree, unet or skip"
        )
