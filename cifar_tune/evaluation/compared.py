"""What of a study is compared for its answer, and where its trials are stored."""

from __future__ import annotations

from dataclasses import dataclass

from cifar_tune.config.derived import derived_name
from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.answer import Basis
from cifar_tune.evaluation.candidates import configuration_label
from cifar_tune.evaluation.evidence import Evidence, TrialRecord, gather
from cifar_tune.evaluation.measure import replicates
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors


@dataclass(frozen=True)
class Compared:
    """Models with their complete trials, and what else is stored beside them.

    Attributes:
        named: The database that commands name; None names none.
    """

    basis: Basis
    evidence: Evidence
    spec: StudySpec
    named: StorageLocation | None
    models: dict[str, list[TrialRecord]]


def read_confirmed(location: StorageLocation, study_name: str) -> Evidence | None:
    """Return what a study's confirmation gave; None before it was begun."""
    name = derived_name(study_name, "confirm")
    with explain_errors(location):
        study = studies.find_study(studies.open_to_read(location), name)
    if study is None or "named" not in study.user_attrs:
        return None
    return gather(location, name, "cifar-tune best confirm")


def choose_compared(
    evidence: Evidence,
    confirmed: Evidence | None,
    spec: StudySpec,
    named: StorageLocation | None,
) -> Compared:
    """Return the confirmation if it has two models, else the named trials, else the sampled."""
    if confirmed is not None:
        labels = confirmed.definition["named"]
        models = {label: replicates(confirmed, label) for label in labels}
        models = {label: trials for label, trials in models.items() if trials}
        if len(models) > 1:
            return Compared("confirmation", confirmed, spec, named, models)
    models = {one.name: replicates(evidence, one.name) for one in spec.named}
    models = {name: trials for name, trials in models.items() if trials}
    if len(models) > 1:
        return Compared("named", evidence, spec, named, models)
    sampled = {
        configuration_label(None, trial.number): [trial]
        for trial in evidence.complete
        if not trial.name
    }
    if sampled:
        return Compared("sampled", evidence, spec, named, models | sampled)
    return Compared("named", evidence, spec, named, models)
