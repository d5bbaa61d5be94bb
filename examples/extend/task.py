"""A task of your own: a camera has mixed red, green and blue by a known matrix, and added noise."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from guided_dip import Config, Result, make_config
from guided_dip.operators import from_callable
from guided_dip.restoration import Known, prepare
from guided_dip.tasks import Task

MIX = "ij,bjhw->bihw"


class Unmix(Task):
    keeps_gray = False  # gray may be measured as a colour

    def __init__(self, matrix: Tensor, size: tuple[int, int]) -> None:
        self.operator = from_callable(lambda x: torch.einsum(MIX, matrix, x), (1, 3, *size))
        self._inverse = torch.linalg.inv(matrix)

    def lift(self, measured: Tensor, window: object = None) -> Tensor:
        return torch.einsum(MIX, self._inverse, measured)  # what the network is shown

    unrestored = lift  # what one looks at without a restoration


@dataclass(frozen=True, eq=False)
class Mixed(Known):  # what is known besides the pixels
    matrix: np.ndarray | None = None

    def task(self, config: Config, pixels: np.ndarray) -> Task:
        return Unmix(torch.from_numpy(self.matrix), pixels.shape[:2])


def unmix(image: np.ndarray, matrix: np.ndarray, **settings: object) -> Result:
    return prepare(image, make_config(settings), Mixed(matrix=matrix)).run()
