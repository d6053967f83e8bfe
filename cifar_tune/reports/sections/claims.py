"""The section with the claims of a study file, judged."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
    round_up,
    short_name,
)
from cifar_tune.reports.blocks import Block, Card, Cell, Points, Row, Table, Tone, number_cell
from cifar_tune.reports.study_blocks import effect_cell

FIRST_SEEDS = 3
"""The number of seeds that give a first spread."""
_TONES: dict[str, Tone] = {"supported": "good", "refuted": "bad", "undecided": "unsure"}
_DECLARED = {
    "before": "Written down before the first trial.",
    "changed": "Changed after the first trial was run: read the verdict with that in mind.",
    "after": "Written down after the first trial was run: read the verdict with that in mind.",
}


def draw_claims(record: ReportRecord) -> Iterator[Block]:
    """Draw a line for each claim, which opens, and all numbers in a table."""
    if not record.claims:
        return
    yield from (_card(record, claim) for claim in record.claims)
    others = "; the claims are about another protocol" if record.differences else ""
    looks = ", ".join(map(str, LOOKS[:4]))
    rules = (
        f"Verdicts are about the profile {record.profile}{others}.",
        "Models are compared in pairs of one seed on the same images.",
        f"Claims are corrected together (Holm) and for looks at {looks} and so on seeds; between "
        "two looks the verdict of the last one stands.",
        "The probability of one or more wrong verdicts of a kind is at most 2.5 %.",
    )
    yield Points("How verdicts are found", rules)
    yield _table(record)


# --- a claim ------------------------------------------------------------------------------------


def _card(record: ReportRecord, claim: ClaimRecord) -> Card:
    lines = [f"Source: {claim.source}."] if claim.source else []
    if claim.deciding is not None:
        hanging = "Hangs on" if len(claim.contrasts) > 1 else "Measured"
        lines.append(f"{hanging} {describe_contrast(claim, claim.contrasts[claim.deciding])}.")
    missing = " See what is missing under Protocol."
    is_in_part = claim.unknown and claim.verdict == "undecided"
    lines.append(describe_reason(claim) + (missing if is_in_part else ""))
    lines += _describe_limits(claim)
    lines += [f"Not known: {unknown}." for unknown in claim.unknown]
    lines.append(_DECLARED[claim.declared])
    tone, command = _TONES[claim.verdict], _next_command(record, claim)
    measure = ""
    if claim.deciding is not None:
        deciding = claim.contrasts[claim.deciding]
        measure = format_effect(deciding.quantity, deciding.mean)
    return Card(claim.verdict, tone, claim.text, tuple(lines), command, measure)


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
            f"{round_up(advice.images):,} would do."
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


def _next_command(record: ReportRecord, claim: ClaimRecord) -> str:
    """Return the command that brings a verdict, where more seeds do."""
    if claim.verdict != "undecided" or claim.unknown:
        return ""
    if _has_one_seed(claim):
        return f"{record.command} --seeds {FIRST_SEEDS}"
    seeds = claim.advice.seeds if claim.advice is not None else None
    return f"{record.command} --seeds {seeds}" if seeds is not None else ""


# --- all comparisons ----------------------------------------------------------------------------


def _models(claim: ClaimRecord, contrast: ContrastRecord) -> str:
    return f"{short_name(claim.trial)} over {short_name(contrast.than)}"


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
        is_long=True,
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
