"""The one hyperparameter that the named trials of a study differ in."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.evidence import Evidence


@dataclass(frozen=True)
class SweepRecord:
    """Named trials that differ in one hyperparameter alone.

    Attributes:
        points: (value, model).
        others: Sampled trials as (value, validation accuracy, number, state).
    """

    parameter: str
    is_log: bool
    points: tuple[tuple[float, str], ...]
    others: tuple[tuple[float, float, int, str], ...]


def compute_sweep(evidence: Evidence, spec: StudySpec) -> SweepRecord | None:
    """Return what all named trials differ in, if it is one hyperparameter and a number."""
    configs = {named.name: asdict(spec.named_config(named, seed=0)) for named in spec.named}
    if len(configs) < 2:
        return None
    first = next(iter(configs.values()))
    varied = [
        key
        for key in first
        if key != "seed" and len({str(config[key]) for config in configs.values()}) > 1
    ]
    if len(varied) != 1 or not isinstance(first[varied[0]], int | float):
        return None
    (key,) = varied
    searched = spec.space.ranges().get(key)
    return SweepRecord(
        parameter=key,
        is_log=searched is not None and searched.log,
        points=tuple(sorted((float(config[key]), name) for name, config in configs.items())),
        others=tuple(
            (float(trial.params[key]), trial.values["val_accuracy"], trial.number, trial.state)
            for trial in evidence.trials
            if not trial.name and trial.history and key in trial.params
        ),
    )
