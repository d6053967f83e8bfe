"""Draws the comparisons that claims hang on."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from cifar_tune.evaluation.records import ClaimRecord, ContrastRecord
from cifar_tune.evaluation.words import say, short
from cifar_tune.reports.theme import COLOURS, LINE, make_figure


def draw_contrasts(claims: Sequence[ClaimRecord], *, is_time: bool) -> tuple[go.Figure, int]:
    """Each comparison of each claim with its interval, and the smallest effect that counts.

    Returns:
        The figure and its height in pixels.
    """
    rows: list[tuple[str, str, ContrastRecord]] = [
        (f"{short(claim.trial)} over {short(one.than)}, {say(one.quantity)}", claim.verdict, one)
        for claim in claims
        for one in claim.contrasts
        if (one.quantity == "seconds") == is_time
    ]
    # The same comparison may serve several claims; it is drawn once.
    rows = list({name: (name, verdict, one) for name, verdict, one in rows[::-1]}.values())
    title = "share of the other's time saved (%)" if is_time else "difference (points of accuracy)"
    figure = make_figure(title, "", legend=True)
    names = [name for name, _, _ in rows]
    figure.add_scatter(
        x=[100 * one.mean for _, _, one in rows],
        y=names,
        error_x={
            **_contrast_error([one for _, _, one in rows]),
            "color": COLOURS[0],
        },
        mode="markers",
        marker={"size": 9, "color": COLOURS[0]},
        name="measured, 95 % interval",
    )
    figure.add_scatter(
        x=[100 * one.smallest_effect for _, _, one in rows],
        y=names,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": COLOURS[1], "line": {"width": 2}},
        name="smallest effect that counts",
        hovertemplate="counts from %{x:g}<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": LINE, "width": 1})
    figure.update_layout(yaxis={"showgrid": True}, xaxis={"zeroline": False})
    return figure, 150 + 34 * len(rows)


def _contrast_error(contrasts: Sequence[ContrastRecord]) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if one.high is None else 100 * (one.high - one.mean) for one in contrasts],
        "arrayminus": [0 if one.low is None else 100 * (one.mean - one.low) for one in contrasts],
        "thickness": 2,
        "width": 6,
    }
