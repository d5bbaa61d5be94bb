"""Guided-DIP where deepinv takes a reconstructor: ``x_hat = model(y, physics)``.

deepinv (Tachella et al., 2025) calls an operator with its noise a physics. Nothing here needs it to
be installed: any object with ``A``, ``A_adjoint`` and a ``noise_model`` will do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from guided_dip import config as configs
from guided_dip import seeds
from guided_dip.engine import to_array
from guided_dip.errors import InputError
from guided_dip.restoration import Known, prepare
from guided_dip.result import Result


class GuidedDIPReconstructor(nn.Module):
    """Restores each measurement of a batch by a fit of its own.

    Parameters
    ----------
    noise
        Of the measurements, such as ``"gaussian:5"`` (of 255); None: what the physics'
        ``noise_model`` says.
    effort
        ``fast``, ``balanced`` or ``best``.
    **settings
        Any field of `guided_dip.Config`.

    Raises
    ------
    InputError
        If a setting is not usable.

    Examples
    --------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> half = torch.ones(1, 1, 16, 16)
    >>> half[..., ::2] = 0
    >>> physics = SimpleNamespace(A=lambda x: x * half, A_adjoint=lambda y: y * half)
    >>> y = torch.full((1, 1, 16, 16), 0.5) * half
    >>> model = GuidedDIPReconstructor(noise="none", steps=2, backbone_options={"width": 4})
    >>> model(y, physics).shape
    torch.Size([1, 1, 16, 16])
    """

    def __init__(
        self, noise: str | None = None, *, effort: str = "balanced", **settings: Any
    ) -> None:
        super().__init__()
        configs.make_config(settings, preset=effort)  # says what is wrong at once
        self._settings, self._effort, self._noise = settings, effort, noise

    def forward(self, y: Tensor, physics: Any, **others: Any) -> Tensor:
        """Return the restorations, (B, C, H, W), of y's type and on its device.

        Parameters
        ----------
        y : (B, C', H', W')
            Measurements, real.
        physics
            Has ``A`` and, if it has one, ``A_adjoint``, of batches of one.
        **others
            Of no account.

        Raises
        ------
        InputError
            If the measurements are of another shape, or neither the physics nor the user says what
            noise they have.
        """
        del others
        if y.ndim != 4 or y.is_complex():
            raise InputError(
                f"measurements are real and (B, C, H, W), not {y.dtype} {tuple(y.shape)}"
            )
        white = configs.make_config(self._settings).white_value or 1.0
        noise = _noise_of(physics, white) if self._noise is None else self._noise
        stated = self._settings.get("device", "auto")
        device = str(y.device) if stated == "auto" else stated
        settings = {**self._settings, "noise": noise, "check_noise": False, "device": device}
        fed = y.to(device).float()
        restored = [self._restored(fed[k : k + 1], physics, settings) for k in range(len(fed))]
        return torch.cat(restored).to(y)

    def _restored(self, y: Tensor, physics: Any, settings: dict[str, Any]) -> Tensor:
        """Restore a measurement (1, C, H, W)."""
        pixels = _pixels_known(physics, y)
        if pixels is None:
            known = Known(operator=physics)
        else:
            known = Known(mask=None if pixels.all() else ~pixels[0, 0].cpu().numpy())
        config = configs.make_config({"task": known.name} | settings, preset=self._effort)
        return _as_tensor(prepare(to_array(y), config, known).run())


def _as_tensor(result: Result) -> Tensor:
    """Return a restoration as (1, C, H, W)."""
    image = torch.from_numpy(result.image)
    return (image[..., None] if image.ndim == 2 else image).permute(2, 0, 1)[None]


def _pixels_known(physics: Any, y: Tensor) -> Tensor | None:
    """Return which pixels a physics leaves as they are, (1, 1, H, W); None if it does more.

    Found by trying it.
    """
    tried = seeds.normal(y, 0, "tried")
    try:
        gray, measured = (physics.A(image) for image in (torch.ones_like(y), tried))
    except (RuntimeError, ValueError, TypeError):  # it takes images of another shape
        return None
    if not isinstance(gray, Tensor) or gray.shape != y.shape or measured.shape != y.shape:
        return None
    known = gray[:, :1] != 0
    plain = torch.equal(gray, known.to(gray).expand_as(gray))
    return known if plain and torch.equal(measured, tried * known) else None


def _noise_of(physics: Any, white: float) -> str:
    """Return the noise of a physics by name; what it says is in the measurements' own units."""
    model = getattr(physics, "noise_model", None)
    sigma, gain = (_number(getattr(model, name, None)) for name in ("sigma", "gain"))
    sigma, gain = (None if value is None else value / white for value in (sigma, gain))
    if gain:
        return f"poisson-gaussian:{gain * 255},{sigma * 255}" if sigma else f"poisson:{1 / gain}"
    if sigma is not None:
        return f"gaussian:{sigma * 255}"
    raise InputError(
        "the physics does not say what noise there is: state it, such as noise='gaussian:5' (of "
        "255), or noise='none'"
    )


def _number(value: Any) -> float | None:
    """Return a number or a tensor of one; None for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    return float(value) if isinstance(value, int | float) else None
