"""The section with the claims of a study file and what is made of each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import plotly.graph_objects as go

from cifar_tune.evaluation.claims import ClaimRecord
from cifar_tune.evaluation.quantities import ContrastRecord
from cifar_tune.evaluation.stats import collapse_bound
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.verdicts import LOOKS
from cifar_tune.evaluation.wording import (
    format_effect,
    format_effect_interval,
    format_key,
    format_p_value,
    short_name,
)
from cifar_tune.reports.blocks import Block, Card, Cell, Prose, Row, Table, Tone, number_cell
from cifar_tune.reports.study_blocks import effect_cell, make_chart
from cifar_tune.reports.theme import error_bars, make_figure
from cifar_tune.training.pictures.palette import COLOURS, LINE
from cifar_tune.wording import format_count

FIRST_SEEDS = 3
"""The number of seeds that give a first spread."""
_TONES: dict[str, Tone] = {"supported": "good", "refuted": "bad", "undecided": "unsure"}
_DECLARED = {
    "before": "Written down before the first trial.",
    "changed": "Changed after the first trial was run: read the verdict with that in mind.",
    "after": "Written down after the first trial was run: read the verdict with that in mind.",
}


def draw_claims(record: ReportRecord) -> Iterator[Block]:
    """Draw a card for each claim, the comparisons as figures, and all numbers in a table."""
    if not record.claims:
        return
    yield Prose(
        "Each claim says that one model is better than others. It is supported where that is "
        "shown, refuted where the difference is shown to be less than the smallest that counts, "
        "which the study file declares, and else undecided. Intervals and verdicts are for the "
        "scatter of seeds and for the finite number of images; models are compared in pairs with "
        f"one seed and on the same images. {format_count(len(record.claims), 'claim')} are "
        f"corrected together (Holm), and for looks at {', '.join(map(str, LOOKS[:6]))} and so on "
        "seeds, so that one or more of them is wrongly supported, or wrongly refuted, with a "
        "probability of at most 2.5 % each, also if seeds are added until a verdict falls. Between "
        "two looks the verdict of the last one stands."
    )
    if record.differences:
        yield Prose(
            f"The verdicts are about the profile {record.profile}; the claims were made about "
            "another protocol."
        )
    yield from (_card(record, claim) for claim in record.claims)
    yield from _charts(record)
    yield _table(record)


# --- a claim ------------------------------------------------------------------------------------


def _card(record: ReportRecord, claim: ClaimRecord) -> Card:
    lines = [f"Source: {claim.source}."] if claim.source else []
    if claim.deciding is not None:
        hanging = "Hangs on" if len(claim.contrasts) > 1 else "Measured"
        lines.append(f"{hanging} {describe_contrast(claim, claim.contrasts[claim.deciding])}.")
    missing = " See what is missing under Results."
    is_in_part = claim.unknown and claim.verdict == "undecided"
    lines.append(describe_reason(claim) + (missing if is_in_part else ""))
    lines += _describe_limits(claim)
    lines += [f"Not known: {unknown}." for unknown in claim.unknown]
    lines.append(_DECLARED[claim.declared])
    tone, command = _TONES[claim.verdict], _next_command(record, claim)
    return Card(claim.verdict, tone, claim.text, tuple(lines), command)


def _describe_limits(claim: ClaimRecord) -> Iterator[str]:
    """Yield what the verdict cannot tell: runs at chance, those that no seed showed."""
    if claim.at_chance:
        yield (
            f"No better than guessing: {', '.join(map(short_name, claim.at_chance))}. If a model's "
            "runs collapse now and then, its mean depends on how often, and few seeds do not tell."
        )
    if claim.deciding is None:
        return
    deciding = claim.contrasts[claim.deciding]
    if deciding.judged_seeds < deciding.seeds:
        yield f"Judged on the first {deciding.judged_seeds} seeds, the last planned look."
    if claim.verdict != "undecided" and not claim.at_chance:
        yield (
            "The verdict holds unless runs collapse in a way that none of the "
            f"{deciding.judged_seeds} seeds showed; up to "
            f"{100 * collapse_bound(deciding.judged_seeds):.0f} % of runs may (95 % confidence)."
        )


def describe_contrast(claim: ClaimRecord, contrast: ContrastRecord) -> str:
    """Return a comparison of a claim in words."""
    interval = "one seed, so without an interval"
    if contrast.low is not None:
        ends = format_effect_interval(contrast)
        interval = f"95 % interval {ends}, {contrast.seeds} seeds"
    counts = format_effect(contrast.quantity, contrast.smallest_effect).lstrip("+")
    return (
        f"{short_name(claim.trial)} against {short_name(contrast.than)} in "
        f"{format_key(contrast.quantity)}: {format_effect(contrast.quantity, contrast.mean)} "
        f"({interval}; counts from {counts})"
    )


def describe_reason(claim: ClaimRecord) -> str:
    """Return why a claim has its verdict, in a sentence or two."""
    if claim.verdict == "supported":
        p_value = format_p_value(claim.support_p)
        return f"A difference of zero or less is ruled out, {p_value} (corrected)."
    if claim.verdict == "refuted":
        deciding = claim.contrasts[claim.deciding or 0]
        smaller = " It may be above zero, but by less than counts." if deciding.mean > 0 else ""
        p_value = format_p_value(claim.refute_p)
        return f"A difference that counts is ruled out, {p_value} (corrected).{smaller}"
    if claim.unknown:
        return "Cannot be judged in full yet."
    if _has_one_seed(claim):
        return "One seed shows nothing; three give a first spread."
    return (
        f"Neither is ruled out: no difference ({format_p_value(claim.support_p)}), one that counts "
        f"({format_p_value(claim.refute_p)}; both corrected).{_describe_advice(claim)}"
    )


def _has_one_seed(claim: ClaimRecord) -> bool:
    return any(contrast.low is None for contrast in claim.contrasts)


def _describe_advice(claim: ClaimRecord) -> str:
    advice = claim.advice
    if advice is None:
        return ""
    if advice.seeds is None and advice.images is not None:
        return (
            " No number of seeds will decide it: the images are too few, about "
            f"{_round_up(advice.images):,} would do."
        )
    if advice.seeds is None:
        return f" It would take more than {LOOKS[-1]:,} seeds."
    hardest = claim.contrasts[advice.contrast]
    if abs(advice.assumed) < 0.0005:
        truth = f"if there is no difference to {short_name(hardest.than)} in truth"
    else:
        is_time = hardest.quantity == "seconds"
        assumed = -math.expm1(-advice.assumed) if is_time else advice.assumed
        effect = format_effect(hardest.quantity, assumed)
        truth = f"if the true difference to {short_name(hardest.than)} is {effect}"
    return (
        f" The planned look at {advice.seeds} seeds decides it with a probability of 80 % {truth} "
        "and seeds scatter as these do."
    )


def _round_up(images: int) -> int:
    """Return the number to two figures: it is no better known than that."""
    size: int = 10 ** max(len(str(images)) - 2, 0)
    return int(-(-images // size) * size)


def _next_command(record: ReportRecord, claim: ClaimRecord) -> str:
    """Return the command that brings a verdict, where more seeds do."""
    if claim.verdict != "undecided" or claim.unknown:
        return ""
    if _has_one_seed(claim):
        return f"{record.command} --seeds {FIRST_SEEDS}"
    seeds = claim.advice.seeds if claim.advice is not None else None
    return f"{record.command} --seeds {seeds}" if seeds is not None else ""


# --- all comparisons ----------------------------------------------------------------------------


def _charts(record: ReportRecord) -> Iterator[Block]:
    models = {claim.trial for claim in record.claims}
    models |= {contrast.than for claim in record.claims for contrast in claim.contrasts}
    compared = [
        trial.number
        for trial in record.trials
        if trial.state == "complete" and trial.model in models
    ]
    for is_time, id_, title in (
        (False, "contrasts-accuracy", "Comparisons of accuracy"),
        (True, "contrasts-time", "Comparisons of time"),
    ):
        named = [
            (f"{_models(claim, contrast)}, {format_key(contrast.quantity)}", contrast)
            for claim in record.claims
            for contrast in claim.contrasts
            if (contrast.quantity == "seconds") == is_time
        ]
        # The same comparison may serve several claims; it is drawn once.
        contrasts = dict(reversed(named))
        if contrasts:
            yield make_chart(
                record,
                id_,
                title,
                "To the right of zero the first model is better; the bar is the 95 % interval, not "
                "corrected for the number of claims.",
                plot_contrasts(contrasts, is_time=is_time),
                compared,
                height=150 + 34 * len(contrasts),
            )


def _models(claim: ClaimRecord, contrast: ContrastRecord) -> str:
    return f"{short_name(claim.trial)} over {short_name(contrast.than)}"


def plot_contrasts(contrasts: dict[str, ContrastRecord], *, is_time: bool) -> go.Figure:
    """Plot each comparison with its interval, and the smallest effect that counts."""
    title = "share of the other's time saved (%)" if is_time else "difference (points of accuracy)"
    figure = make_figure(title, "", xaxis={"zeroline": False}, yaxis={"showgrid": True})
    records = list(contrasts.values())
    figure.add_scatter(
        x=[100 * record.mean for record in records],
        y=list(contrasts),
        error_x=error_bars(records, 100, thickness=2, width=6, color=COLOURS[0]),
        mode="markers",
        marker={"size": 9, "color": COLOURS[0]},
        name="measured, 95 % interval",
    )
    figure.add_scatter(
        x=[100 * record.smallest_effect for record in records],
        y=list(contrasts),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": COLOURS[1], "line": {"width": 2}},
        name="smallest effect that counts",
        hovertemplate="counts from %{x:g}<extra></extra>",
    )
    return figure.add_vline(x=0, line={"color": LINE, "width": 1})


def _table(record: ReportRecord) -> Table:
    rows = tuple(
        _table_row(claim, contrast, is_first=place == 0)
        for claim in record.claims
        for place, contrast in enumerate(claim.contrasts)
    )
    return Table(
        "contrasts-table",
        "Every comparison",
        ("claim", "comparison", "difference", "counts from", "seeds", "images"),
        rows,
        note="Differences are means over pairs of equal seeds. Noise of the images: from what "
        "both models said of each image, or bounded by the binomial where answers were not kept.",
        is_long=len(rows) > 12,
    )


def _table_row(claim: ClaimRecord, contrast: ContrastRecord, *, is_first: bool) -> Row:
    images = f"{contrast.images:,}" if contrast.images else ""
    basis = {"images": "from each image", "binomial": "bounded", "none": "none"}[contrast.basis]
    return Row(
        (
            Cell(claim.name if is_first else "", is_code=True),
            Cell(_models(claim, contrast), note=format_key(contrast.quantity)),
            effect_cell(contrast),
            number_cell(format_effect(contrast.quantity, contrast.smallest_effect)),
            number_cell(str(contrast.seeds)),
            number_cell(images, note=f"noise {basis}"),
        )
    )
