"""The claims of a study file, judged on what is stored."""

from __future__ import annotations

from collections.abc import Sequence

from cifar_tune.config.schema import Claim
from cifar_tune.evaluation.measure import compare
from cifar_tune.evaluation.records import ClaimRecord, ContrastRecord, Evidence
from cifar_tune.evaluation.verdicts import Contrast, Judgement, judge


def judge_claims(evidence: Evidence, claims: Sequence[Claim]) -> tuple[ClaimRecord, ...]:
    """Judge all claims of a study file as one family."""
    compared = [_compare(evidence, claim) for claim in claims]
    judged = judge([[found[0] for found in one] for one in compared])
    return tuple(
        _record(evidence, claim, one, judgement, len(claims))
        for claim, one, judgement in zip(claims, compared, judged, strict=True)
    )


_Compared = tuple[Contrast | None, ContrastRecord | str]


def _compare(evidence: Evidence, claim: Claim) -> list[_Compared]:
    found: list[_Compared] = []
    for quantity, smallest in claim.better_in.given().items():
        for than in claim.than:
            one = compare(evidence, claim.trial, than, quantity, smallest)
            found.append((None, one) if isinstance(one, str) else one)
    return found


def _record(
    evidence: Evidence,
    claim: Claim,
    compared: Sequence[_Compared],
    judgement: Judgement,
    family: int,
) -> ClaimRecord:
    known = [record for _, record in compared if isinstance(record, ContrastRecord)]
    # An unknown contrast is never the one that a verdict hangs on, but may be where none is known.
    deciding = compared[judgement.deciding][1]
    if not isinstance(deciding, ContrastRecord):
        deciding = min(known, key=lambda one: one.mean) if known else deciding
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
        deciding=known.index(deciding) if isinstance(deciding, ContrastRecord) else None,
        unknown=tuple(record for _, record in compared if isinstance(record, str)),
        advice=judgement.advice,
    )


def _declared(evidence: Evidence, claim: Claim) -> str:
    stored = evidence.definition.get("claims", {}).get(claim.name)
    if stored is None:
        return "after"
    judged_by = ("trial", "than", "better_in")
    now = claim.model_dump()
    return "before" if all(stored.get(key) == now[key] for key in judged_by) else "changed"
