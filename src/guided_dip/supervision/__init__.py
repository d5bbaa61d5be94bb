r"""Where the fit's (input, target) comes from at each step.

======================  ==============  ====================================================
supervision             input           target
======================  ==============  ====================================================
``observation``         z               y
``clean-guides``        z               x_t drawn from x_0, one draw a stage
``observation-guides``  z               y + sqrt(sigma_t^2 - sigma^2) xi, one draw a stage
``recorrupted-guides``  y + a_t eta     y - eta / a_t, one draw a step
======================  ==============  ====================================================

``eta ~ N(0, sigma^2)``. In the last row the noise of the input and that of the target are
independent given the clean image: for ``y = x + n`` the two are ``n + a eta`` and ``n - eta / a``,
whose covariance is ``sigma^2 - sigma^2 = 0`` (Pang et al., "Recorrupted-to-Recorrupted",
CVPR 2021).
"""

from guided_dip.supervision.around import Ahead, Measured
from guided_dip.supervision.from_z import FromZ, clean_guides, observation, observation_guides
from guided_dip.supervision.pairs import Once, Pair, Supervision, cut
from guided_dip.supervision.recorrupted import Filter, Grain, RecorruptedGuides
from guided_dip.supervision.smaller import SmallerGuides

__all__ = [
    "Ahead",
    "Filter",
    "FromZ",
    "Grain",
    "Measured",
    "Once",
    "Pair",
    "RecorruptedGuides",
    "SmallerGuides",
    "Supervision",
    "clean_guides",
    "cut",
    "observation",
    "observation_guides",
]
