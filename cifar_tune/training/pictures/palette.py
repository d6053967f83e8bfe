"""The colours of every figure, in the reports and in the pictures of trials."""

from __future__ import annotations

TEXT = "#1c2024"
"""Of axis titles, ticks, legends and annotations; on a report's dark page they are light."""
LINE = "#8a929c"
"""Of axes and reference lines."""
GRID = "#e1e5ea"
"""Of grid lines, hardly seen on purpose."""

COLOURS: tuple[str, ...] = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # bluish green
    "#8350E8",  # violet
    "#7A8CA0",  # slate
    "#B8304A",  # crimson
    "#9A7B00",  # olive
    "#D070A8",  # pink
)
"""One for each thing compared, in this order; each has a contrast of 3:1 or more to white and to
#14161a, as WCAG 2.2 asks of graphics (1.4.11).

The first three are of Okabe and Ito, "Color Universal Design" (https://jfly.uni-koeln.de/color/,
2008). Their orange, sky blue and yellow are too light for a white page, so the others were chosen
to be as far as possible from these, also as red-green blind readers see them (simulated after
Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009). The first six stay apart; further ones, or
more than one use of a colour, need dashes or marker symbols beside them.
"""

VALIDATION, TRAINING, TEST = COLOURS[0], COLOURS[1], COLOURS[2]
"""What is measured on validation, training and test images, in reports, pictures and dashboard."""
STOPPED = COLOURS[4]
"""Trials that were stopped early, and what a figure compares its subject with."""

SEQUENTIAL: tuple[tuple[float, str], ...] = (
    (0.0, "#f6f9fc"),
    (0.15, "#d3e3f1"),
    (0.4, "#a6c9e4"),
    (0.55, "#3579b1"),
    (0.8, "#17609c"),
    (1.0, "#0a3763"),
)
"""Colour scale of a heatmap, few to many, steep in the middle, where neither black nor white texts
are read well. Leave the colour of texts in cells to plotly, which picks one that stands out from
each; a report's dark page inverts cells and their texts together."""
