"""What a step of a fit is made of: a network, its optimisers and rates, turned pictures."""

from guided_dip.training.passes import batchnorm_untouched, looked_at, through
from guided_dip.training.rates import learning_rate_at
from guided_dip.training.trainer import Batch, FitSettings, Taken, Trainer, Trainers
from guided_dip.training.turns import TURNS, joined, turn, turned, unturn, unturned

__all__ = [
    "TURNS",
    "Batch",
    "FitSettings",
    "Taken",
    "Trainer",
    "Trainers",
    "batchnorm_untouched",
    "joined",
    "learning_rate_at",
    "looked_at",
    "through",
    "turn",
    "turned",
    "unturn",
    "unturned",
]
