"""Draws the claims of a study and what is made of each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cifar_tune.evaluation.records import ClaimRecord, ContrastRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.words import count, say, say_effect, say_p, short, sources
from cifar_tune.reports.blocks import Block, Card, Cell, Chart, Prose, Row, Table, Tone
from cifar_tune.reports.figures.claims import draw_contrasts

FIRST_SEEDS = 3
"""With which a first spread is had."""
_TONES: dict[str, Tone] = {"supported": "good", "refuted": "bad", "undecided": "unsure"}
_DECLARED = {
    "before": "Written down before the first trial.",
    "changed": "Changed after the first trial was run: read the verdict with that in mind.",
    "after": "Written down after the first trial was run: read the verdict with that in mind.",
}


def claim_blocks(record: ReportRecord, command: str) -> Iterator[Block]:
    """A card for each claim, the comparisons as figures, and all numbers in a table."""
    if not record.claims:
        return
    family = len(record.claims)
    yield Prose(
        "Each claim says that one model is better than others. It is supported where that is "
        "shown, refuted where the difference is shown to be less than the smallest that counts, "
        "which the study file declares, and else undecided. Intervals and verdicts are for the "
        "scatter of seeds and for the finite number of images; models are compared in pairs with "
        f"one seed and on the same images. {count(family, 'claim')} are corrected together "
        "(Holm), so that one or more of them is wrongly supported, or wrongly refuted, with a "
        "probability of at most 2.5 % each."
    )
    if record.differences:
        yield Prose(
            f"The verdicts are about the profile {record.profile}; the claims were made about "
            "another protocol."
        )
    yield from (_card(record, claim) for claim in record.claims)
    compared = tuple(
        trial.number
        for trial in record.trials
        if trial.state == "complete"
        and trial.model in {name for one in record.claims for name in _models(one)}
    )
    for is_time, id_, title in (
        (False, "contrasts-accuracy", "Comparisons of accuracy"),
        (True, "contrasts-time", "Comparisons of time"),
    ):
        if any(
            (one.quantity == "seconds") == is_time for c in record.claims for one in c.contrasts
        ):
            figure, height = draw_contrasts(record.claims, is_time=is_time)
            yield Chart(
                id_,
                title,
                "To the right of zero the first model is better; the bar is the 95 % interval, not "
                "corrected for the number of claims.",
                figure,
                sources(record.trials, compared),
                command,
                height=height,
            )
    yield _table(record)


def _models(claim: ClaimRecord) -> set[str]:
    return {claim.trial, *(one.than for one in claim.contrasts)}


def _card(record: ReportRecord, claim: ClaimRecord) -> Card:
    lines = []
    if claim.source:
        lines.append(f"Source: {claim.source}.")
    if claim.deciding is not None:
        hanging = "Hangs on" if len(claim.contrasts) > 1 else "Measured"
        lines.append(f"{hanging} {say_contrast(claim, claim.contrasts[claim.deciding])}.")
    missing = " See what is missing under Results."
    is_in_part = claim.unknown and claim.verdict == "undecided"
    lines.append(say_reason(claim) + (missing if is_in_part else ""))
    lines += [f"Not known: {one}." for one in claim.unknown]
    lines.append(_DECLARED[claim.declared])
    return Card(
        claim.verdict, _TONES[claim.verdict], claim.text, tuple(lines), _next_command(record, claim)
    )


def say_contrast(claim: ClaimRecord, one: ContrastRecord) -> str:
    """A comparison of a claim in words."""
    interval = "one seed, so without an interval"
    if one.low is not None and one.high is not None:
        ends = (say_effect(one.quantity, one.low), say_effect(one.quantity, one.high))
        interval = f"95 % interval {ends[0]} to {ends[1]}, {one.seeds} seeds"
    counts = say_effect(one.quantity, one.smallest_effect).lstrip("+")
    return (
        f"{short(claim.trial)} against {short(one.than)} in {say(one.quantity)}: "
        f"{say_effect(one.quantity, one.mean)} ({interval}; counts from {counts})"
    )


def say_reason(claim: ClaimRecord) -> str:
    """Why a claim has its verdict, in a sentence or two."""
    if claim.verdict == "supported":
        return f"A difference of zero or less is ruled out, {say_p(claim.support_p)} (corrected)."
    if claim.verdict == "refuted":
        deciding = claim.contrasts[claim.deciding or 0]
        smaller = " It may be above zero, but by less than counts." if deciding.mean > 0 else ""
        return (
            f"A difference that counts is ruled out, {say_p(claim.refute_p)} (corrected).{smaller}"
        )
    if claim.unknown:
        return "Cannot be judged in full yet."
    if any(one.low is None for one in claim.contrasts):
        return "One seed shows nothing; three give a first spread."
    return _advice(claim)


def _advice(claim: ClaimRecord) -> str:
    advice = claim.advice
    neither = (
        f"Neither is ruled out: no difference ({say_p(claim.support_p)}), one that counts "
        f"({say_p(claim.refute_p)}; both corrected)."
    )
    if advice is None:
        return neither
    if advice.seeds is None and advice.images is not None:
        return (
            f"{neither} No number of seeds will decide it: the images are too few, about "
            f"{_round_up(advice.images):,} would do."
        )
    if advice.seeds is None:
        return f"{neither} It would take more than a thousand seeds."
    hardest = claim.contrasts[advice.contrast]
    if advice.assumed == 0:
        truth = f"if there is no difference to {short(hardest.than)} in truth"
    else:
        is_time = hardest.quantity == "seconds"
        assumed = -math.expm1(-advice.assumed) if is_time else advice.assumed
        truth = (
            f"if the true difference to {short(hardest.than)} is "
            f"{say_effect(hardest.quantity, assumed)}"
        )
    return f"{neither} About {advice.seeds} seeds decide it with a probability of 80 % {truth}."


def _next_command(record: ReportRecord, claim: ClaimRecord) -> str:
    """What brings a verdict, where more seeds do."""
    if claim.verdict != "undecided" or claim.unknown:
        return ""
    if any(one.low is None for one in claim.contrasts):
        return f"{record.command} --seeds {FIRST_SEEDS}"
    seeds = claim.advice.seeds if claim.advice is not None else None
    return f"{record.command} --seeds {seeds}" if seeds is not None else ""


def _round_up(images: int) -> int:
    """To two figures: it is no better known than that."""
    size: int = 10 ** max(len(str(images)) - 2, 0)
    return int(-(-images // size) * size)


def _table(record: ReportRecord) -> Table:
    rows = []
    for claim in record.claims:
        for place, one in enumerate(claim.contrasts):
            interval = (
                ""
                if one.low is None or one.high is None
                else (
                    f"{say_effect(one.quantity, one.low)} to {say_effect(one.quantity, one.high)}"
                )
            )
            basis = {"images": "from each image", "binomial": "bounded", "none": "none"}[one.basis]
            rows.append(
                Row(
                    (
                        Cell(claim.name if place == 0 else "", is_code=True),
                        Cell(
                            f"{short(claim.trial)} over {short(one.than)}", note=say(one.quantity)
                        ),
                        Cell(say_effect(one.quantity, one.mean), note=interval, is_number=True),
                        Cell(say_effect(one.quantity, one.smallest_effect), is_number=True),
                        Cell(str(one.seeds), is_number=True),
                        Cell(
                            f"{one.images:,}" if one.images else "",
                            note=f"noise {basis}",
                            is_number=True,
                        ),
                    )
                )
            )
    return Table(
        "contrasts-table",
        "Every comparison",
        ("claim", "comparison", "difference", "counts from", "seeds", "images"),
        tuple(rows),
        note="Differences are means over pairs of equal seeds. Noise of the images: from what "
        "both models said of each image, or bounded by the binomial where answers were not kept.",
        is_long=len(rows) > 12,
    )
