"""The claims of a study file, judged on what is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cifar_tune.config.schema import Claim
from cifar_tune.evaluation.evidence import Evidence
from cifar_tune.evaluation.measure import Comparison, compare, replicates
from cifar_tune.evaluation.quantities import ContrastRecord
from cifar_tune.evaluation.stats import binomial_variance
from cifar_tune.evaluation.verdicts import Advice, Judgement, Verdict, judge


@dataclass(frozen=True)
class ClaimRecord:
    """A claim that was judged.

    Attributes:
        declared: Whether the claim stood in the study file ``before`` the first trial, was
            ``changed`` since, or was written down ``after`` it.
        support_p: The p-value against a claim that is false, corrected for the family.
        refute_p: The p-value against a claim that is true, corrected for the family.
        family: How many claims are judged together.
        deciding: The place among ``contrasts`` of the one that the verdict hangs on.
        unknown: The comparisons that there are no data for, in words.
        at_chance: The trials compared that are no better than guessing.
    """

    name: str
    text: str
    source: str
    trial: str
    declared: str
    verdict: Verdict
    support_p: float
    refute_p: float
    family: int
    contrasts: tuple[ContrastRecord, ...]
    deciding: int | None
    unknown: tuple[str, ...]
    advice: Advice | None
    at_chance: tuple[str, ...]

    def to_rows(self) -> Iterator[dict[str, object]]:
        """Yield the comparisons as rows of a report's CSV."""
        claim = {"part": "claim", "model": self.trial, "verdict": self.verdict}
        for contrast in self.contrasts:
            yield {**claim, **contrast.to_row()}
        for unknown in self.unknown:
            yield {**claim, "quantity": f"missing: {unknown}"}


def judge_claims(evidence: Evidence, claims: Sequence[Claim]) -> tuple[ClaimRecord, ...]:
    """Judge all claims of a study file as one family."""
    comparisons = [
        [
            compare(evidence, claim.trial, than, quantity, smallest)
            for quantity, smallest in claim.better_in.given().items()
            for than in claim.than
        ]
        for claim in claims
    ]
    judgements = judge([[part.contrast for part in parts] for parts in comparisons])
    return tuple(
        _record(evidence, claim, parts, judgement, len(claims))
        for claim, parts, judgement in zip(claims, comparisons, judgements, strict=True)
    )


def _record(
    evidence: Evidence,
    claim: Claim,
    comparisons: Sequence[Comparison],
    judgement: Judgement,
    family: int,
) -> ClaimRecord:
    known = [part.record for part in comparisons if part.record is not None]
    deciding = comparisons[judgement.deciding].record  # None only where nothing is known
    return ClaimRecord(
        name=claim.name,
        text=claim.text,
        source=claim.source,
        trial=claim.trial,
        declared=_declared(evidence, claim),
        verdict=judgement.verdict,
        support_p=judgement.support_p,
        refute_p=judgement.refute_p,
        family=family,
        contrasts=tuple(known),
        deciding=None if deciding is None else known.index(deciding),
        unknown=tuple(part.missing for part in comparisons if part.record is None),
        advice=judgement.advice,
        at_chance=tuple(_find_at_chance(evidence, claim)),
    )


def _find_at_chance(evidence: Evidence, claim: Claim) -> Iterator[str]:
    """Yield the trials of a claim whose accuracy is within three standard errors of guessing."""
    for model in (claim.trial, *claim.than):
        for trial in replicates(evidence, model):
            answers = evidence.validation.get(trial.number) or evidence.test.get(trial.number)
            if answers is None:
                continue
            chance, images = 1 / len(answers.classes), len(answers.rows)
            limit = chance + 3 * math.sqrt(binomial_variance(chance, images))
            if answers.accuracy <= limit:
                yield trial.name


def _declared(evidence: Evidence, claim: Claim) -> str:
    stored = evidence.definition.get("claims", {}).get(claim.name)
    if stored is None:
        return "after"
    judged_by = ("trial", "than", "better_in")
    now = claim.model_dump()
    return "before" if all(stored.get(key) == now[key] for key in judged_by) else "changed"
