"""What is taken of the noise of an accuracy before a study has shown it.

``python tests/support/spread_over_seeds.py`` prints ``SPREAD``, ``BETWEEN`` and the shares of
images from the studies that this program has recorded: 17 configurations of six studies that were
trained with three to five seeds, three to fifty epochs, 1,000 to 10,000 validation images. Their
spreads scatter by 0.3 between studies and by 0.8 within one (standard deviations of logarithms).
That is divided the other way round here, since other people's studies differ by more than ours do
and equal spreads within one are as possible; both together are as recorded.
``docs/statistics.md`` has the table.
"""

from __future__ import annotations

import math

SPREAD = 0.0065
"""The median standard deviation over seeds, as a fraction."""
SPREAD_OF_STUDIES = 0.8
"""How the spreads of studies scatter: standard deviation of the logarithm; chosen."""
SPREAD_OF_CONFIGURATIONS = 0.3
"""How those of one study's configurations do: scale of a half-normal distribution for the standard
deviation of their logarithms; chosen."""
OWN_IMAGES = 0.16
"""The share of the binomial variance from images that are easy for one configuration alone."""
DISAGREEMENT = 0.41
"""The share from images on which seeds of one configuration disagree; it is seen over seeds."""
WEIGHT_OF_SHARES = 12.0
"""How sure these shares are: the total weight of a Dirichlet distribution around them; chosen."""
BETWEEN = 0.04
"""The median scatter of a study's configurations: scale of a half-Cauchy (Gelman 2006)."""

SPREAD_LOW, SPREAD_HIGH = (
    SPREAD * math.exp(sign * 1.96 * math.hypot(SPREAD_OF_STUDIES, SPREAD_OF_CONFIGURATIONS))
    for sign in (-1, 1)
)
"""The ends of what is taken as possible with a probability of 95 %."""
