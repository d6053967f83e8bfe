"""What is taken of the noise of an accuracy before a study has shown it.

``SPREAD``, ``SPREAD_OF_CONFIGURATIONS`` and the shares of images are printed by
``python tests/support/spread_over_seeds.py`` from the studies that this program has recorded: 17
configurations of six studies that were trained with three to five seeds, three to fifty epochs,
1,000 to 10,000 validation images. ``docs/statistics.md`` has the table. The other two are choices,
made with simulations in sight.
"""

from __future__ import annotations

import math

SPREAD = 0.0065
"""The median standard deviation over seeds, as a fraction."""
SPREAD_OF_CONFIGURATIONS = 0.8
"""How the spreads of one study's configurations scatter: standard deviation of the logarithm."""
SPREAD_OF_STUDIES = 0.8
"""How the spreads of studies do. Those six scatter by 0.3; studies of other people by more."""
OWN_IMAGES = 0.16
"""The share of the binomial variance from images that are easy for one configuration alone."""
DISAGREEMENT = 0.41
"""The share from images on which seeds of one configuration disagree; it is seen over seeds."""
BETWEEN = 0.04
"""The median scatter of a study's configurations: scale of a half-Cauchy (Gelman 2006); chosen."""

SPREAD_LOW, SPREAD_HIGH = (
    SPREAD * math.exp(sign * 1.96 * math.hypot(SPREAD_OF_STUDIES, SPREAD_OF_CONFIGURATIONS))
    for sign in (-1, 1)
)
"""The ends of what is taken as possible with a probability of 95 %."""
