"""The methods that a benchmark compares: ours, plain DIP and its rules, classical filters.

A method is either settings, carried out as a run of the shared runner, or a function from a noisy
array to a restored one. Whatever saw the clean image is an oracle, and is never shown in one table
with the others.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError, choices
from guided_dip.experiments.rows import SAW_CLEAN, SAW_NOISY

Floats = NDArray[np.floating[Any]]
# (noisy, sigma in [0, 1] units, seed) -> restored; (H, W) or (H, W, 3)
Denoiser = Callable[[Floats, float, int], Floats]

DIP, PEAK = "dip", "dip-peak"
BM3D, DEEPINV = "bm3d", "deepinv"
_REMARKS = {BM3D: " (for non-commercial use only)", DEEPINV: " (it brings torchvision)"}
DECODER_STEPS = 1900  # of Adam at 0.01, as Heckel and Hand's denoising example takes them
TV_PRECISION = 1e-3  # of the residual's standard deviation
TV_HALVINGS = 40
TV_ITERATIONS = 200
TV_LARGEST = 1e4  # weight; a picture that is still too little smoothed holds no more noise


@dataclass(frozen=True, eq=False)
class Method:
    """A method of the benchmark.

    Attributes
    ----------
    name
        In options, folders and records.
    title
        In tables.
    saw
        What it was allowed to see.
    settings
        Of its run; None for a function and for what is read off another method's run.
    function
        Restores an array; None for a run.
    oracle
        Whether it saw the clean image.
    random
        Whether its result depends on a seed of its own.
    package
        What the user must have installed for it, besides the dependencies; None for nothing.
    """

    name: str
    title: str
    saw: str = SAW_NOISY
    settings: Mapping[str, Any] | None = None
    function: Denoiser | None = None
    oracle: bool = False
    random: bool = True
    package: str | None = None


def nlm(noisy: Floats, sigma: float) -> Floats:
    """Non-local means (Buades, Coll and Morel, CVPR 2005), as scikit-image's guide sets it.

    Parameters
    ----------
    noisy
        (H, W) or (H, W, 3), 1.0 is white.
    sigma
        Noise level in the same units; 0 gives the picture back.
    """
    from skimage.restoration import denoise_nl_means

    if sigma <= 0:
        return noisy.copy()
    restored: Floats = denoise_nl_means(
        noisy,
        patch_size=5,
        patch_distance=6,
        h=0.8 * sigma,
        fast_mode=True,
        channel_axis=_channel_axis(noisy),
    )
    return restored


def tv(noisy: Floats, sigma: float) -> Floats:
    """Total variation (Rudin, Osher and Fatemi, 1992), by the discrepancy principle.

    The weight is the one for which what was taken away has the standard deviation ``sigma``, as in
    Chambolle, "An algorithm for total variation minimization and applications", 2004.

    Parameters
    ----------
    noisy
        (H, W) or (H, W, 3), 1.0 is white.
    sigma
        Noise level in the same units; 0 gives the picture back.
    """
    if sigma <= 0:
        return noisy.copy()
    low, high = 0.0, sigma
    restored = _smoothed(noisy, high)
    while _residual(noisy, restored) < sigma and high < TV_LARGEST:
        low, high = high, 4 * high
        restored = _smoothed(noisy, high)
    for _ in range(TV_HALVINGS):
        taken = _residual(noisy, restored)
        if abs(taken - sigma) <= TV_PRECISION * sigma or high >= TV_LARGEST:
            break
        weight = (low + high) / 2
        restored = _smoothed(noisy, weight)
        low, high = (weight, high) if _residual(noisy, restored) < sigma else (low, weight)
    return restored


def _smoothed(noisy: Floats, weight: float) -> Floats:
    from skimage import restoration

    denoise: Any = restoration.denoise_tv_chambolle  # not annotated
    # With a number of iterations that depends on the weight, the residual would jump with it.
    restored: Floats = denoise(
        noisy,
        weight=weight,
        eps=0,
        max_num_iter=TV_ITERATIONS,
        channel_axis=_channel_axis(noisy),
    )
    return restored


def _residual(noisy: Floats, restored: Floats) -> float:
    return float(np.std(noisy.astype(np.float64) - restored))


def wavelet(noisy: Floats, sigma: float) -> Floats:
    """Soft BayesShrink of wavelet coefficients (Chang, Yu and Vetterli, IEEE TIP 9, 2000).

    Parameters
    ----------
    noisy
        (H, W) or (H, W, 3), 1.0 is white; colour is treated in YCbCr.
    sigma
        Noise level in the same units; 0 gives the picture back.
    """
    from skimage.restoration import denoise_wavelet

    if sigma <= 0:
        return noisy.copy()
    axis = _channel_axis(noisy)
    restored: Floats = denoise_wavelet(
        noisy,
        sigma=sigma,
        method="BayesShrink",
        mode="soft",
        convert2ycbcr=axis is not None,
        rescale_sigma=True,
        channel_axis=axis,
    )
    return restored


def bm3d(noisy: Floats, sigma: float) -> Floats:
    """BM3D (Dabov, Foi, Katkovnik and Egiazarian, IEEE TIP 16, 2007), if its package is there.

    Parameters
    ----------
    noisy
        (H, W) or (H, W, 3), 1.0 is white.
    sigma
        Noise level in the same units; 0 gives the picture back.

    Raises
    ------
    InputError
        If the package is not installed.
    """
    check_installed(METHODS[BM3D])
    if sigma <= 0:
        return noisy.copy()
    package = importlib.import_module("bm3d")
    denoise = package.bm3d if noisy.ndim == 2 else package.bm3d_rgb
    restored: Floats = np.asarray(denoise(noisy.astype(np.float64), sigma)).reshape(noisy.shape)
    return restored


def is_installed(package: str) -> bool:
    """Tell whether the user has installed a package that is no dependency.

    Parameters
    ----------
    package
        Its name.
    """
    return importlib.util.find_spec(package) is not None


def check_installed(method: Method) -> None:
    """Refuse a method whose package is missing.

    Parameters
    ----------
    method
        Which.

    Raises
    ------
    InputError
        If so.
    """
    if method.package is not None and not is_installed(method.package):
        raise InputError(
            f"method {method.name}: the package {method.package}{_REMARKS[method.package]} is not "
            f"installed; try installing it, or leave {method.name} out of --methods"
        )


def _zs_n2n(noisy: Floats, _: float, seed: int) -> Floats:
    from guided_dip.experiments.zsn2n import zs_n2n  # torch, which drawing a page does not need

    return zs_n2n(noisy, seed=seed)


def _deepinv_dip(noisy: Floats, _: float, seed: int) -> Floats:
    from guided_dip.experiments.deepinv_dip import deepinv_dip

    return deepinv_dip(noisy, seed=seed)


def _channel_axis(pixels: Floats) -> int | None:
    return None if pixels.ndim == 2 else -1


def _filter(
    name: str,
    title: str,
    function: Callable[[Floats, float], Floats],
    package: str | None = None,
) -> Method:
    def denoise(noisy: Floats, sigma: float, _: int) -> Floats:
        return function(noisy, sigma)

    return Method(name, title, function=denoise, random=False, package=package)


def _plain_dip(name: str, title: str, **settings: Any) -> Method:
    return Method(name, title, settings={"supervision": "observation"} | settings)


_ALL = (
    *(
        Method(effort, f"Guided-DIP, {effort}", settings={"effort": effort})
        for effort in ("fast", "balanced", "best")
    ),
    Method(
        "observation-guides",
        "Guided-DIP, guides from the observation",
        settings={"supervision": "observation-guides"},
    ),
    _plain_dip(DIP, "DIP, last step"),
    _plain_dip("dip-average", "DIP, mean of outputs", output_average=0.99),
    _plain_dip("dip-es-wmv", "DIP, stopped by ES-WMV", stopping="es-wmv"),
    _plain_dip("dip-es-emv", "DIP, stopped by ES-EMV", stopping="es-emv"),
    _plain_dip(
        "deep-decoder", "Deep Decoder", backbone="deep-decoder", steps=DECODER_STEPS, jitter=0.0
    ),
    Method("deepinv-dip", "DIP of deepinv", function=_deepinv_dip, package=DEEPINV),
    Method("zs-n2n", "Zero-Shot Noise2Noise", function=_zs_n2n),
    _filter("nlm", "Non-local means", nlm),
    _filter("tv", "Total variation", tv),
    _filter("wavelet", "Wavelets, BayesShrink", wavelet),
    _filter(BM3D, "BM3D", bm3d, package=BM3D),
    Method(PEAK, "DIP, best step", saw=SAW_CLEAN, oracle=True),
    Method(
        "clean-guides",
        "Guided-DIP, guides from the clean image",
        saw=SAW_CLEAN,
        settings={"supervision": "clean-guides"},
        oracle=True,
    ),
)
METHODS = {method.name: method for method in _ALL}
DEFAULT = ("balanced", DIP, PEAK, "nlm", "tv", "wavelet")


def select_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """Return methods by name, each once, in the order of the table.

    Parameters
    ----------
    names
        Those that are wanted; `DEFAULT` if there is none, and BM3D where it is installed.

    Raises
    ------
    InputError
        For an unknown name, or one whose package is not installed.

    Examples
    --------
    >>> [method.name for method in select_methods(["tv", "fast", "tv"])]
    ['fast', 'tv']
    """
    wanted = list(names) or [*DEFAULT, *([BM3D] if is_installed(BM3D) else [])]
    for name in wanted:
        if name not in METHODS:
            raise InputError(f"unknown method '{name}': {choices(name, METHODS)}")
        check_installed(METHODS[name])
    return tuple(method for method in METHODS.values() if method.name in wanted)
