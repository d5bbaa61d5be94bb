"""All that the rest of a run depends on, as bytes: a run that goes on from it ends the same."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guided_dip.errors import InputError
from guided_dip.result import Record

# Raised when a checkpoint comes to hold something else.
FORMAT = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run between two steps.

    Attributes
    ----------
    fit, stopping
        States of the fit and of the early-stopping rule, if there is one.
    records, snapshots
        What the run has recorded up to here.
    seconds
        Time it has taken.
    stopped
        The early-stopping rule has ended it.
    rollbacks
        Steps at which it diverged, and from which it went back.
    """

    fit: dict[str, Any]
    stopping: dict[str, Any] | None
    records: tuple[Record, ...]
    snapshots: tuple[tuple[int, NDArray[np.float32]], ...]
    seconds: float
    stopped: bool
    rollbacks: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """Return it as PyTorch saves tensors and plain values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["records"] = [dataclasses.astuple(record) for record in self.records]
        values["snapshots"] = [(step, torch.from_numpy(image)) for step, image in self.snapshots]
        data = io.BytesIO()
        torch.save({"format": FORMAT} | values, data)
        return data.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, device: str = "cpu") -> Checkpoint:
        """Read it back; only tensors and plain values are accepted.

        Parameters
        ----------
        data
            What `to_bytes` returned.
        device
            Where the run goes on.

        Returns
        -------
        Checkpoint

        Raises
        ------
        InputError
            If the bytes are no checkpoint, or one of another version.
        """
        try:
            values = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            found = values.pop("format")
            if found != FORMAT:
                raise InputError(f"the checkpoint has format {found}, not {FORMAT}")
            values["records"] = tuple(Record(*record) for record in values["records"])
            values["snapshots"] = tuple(
                (at, image.cpu().numpy()) for at, image in values["snapshots"]
            )
            values["fit"]["random"] = values["fit"]["random"].cpu()
            return cls(**values)
        except InputError:
            raise
        except Exception as error:  # pickles and archives are damaged in many ways
            raise InputError(f"the checkpoint is damaged ({type(error).__name__})") from None
