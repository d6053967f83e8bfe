"""The note of a study: what it asks, how far it is, and what it says so far."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from cifar_tune.config.wording import format_params
from cifar_tune.dashboard.notes.trial_notes import NotedStudy, derived_command, render_note
from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.measure import measure, replicates
from cifar_tune.evaluation.named_trials import ModelRecord
from cifar_tune.evaluation.quantities import Measured
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_interval, format_key, format_quantity, short_name
from cifar_tune.reports.markdown import code, pipe_table, plain
from cifar_tune.reports.sections.claims import describe_contrast, describe_reason
from cifar_tune.reports.study_page import protocol_warning
from cifar_tune.search.plan import Plan, Work
from cifar_tune.storage.records import REFUSED

MAX_ROWS = 40
"""Rows of the table of named trials; the report has all."""


def study_note(
    study: NotedStudy,
    record: ReportRecord,
    left: Work,
    plan: Plan | None,
    why_left: str | None,
    *,
    is_done: bool,
) -> str:
    """Return the note of a study of a study file; the run's part as ``SummaryRequest`` has it.

    ``is_done`` says that a run of the whole study would find nothing to do.
    """
    best = next((trial for trial in record.trials if trial.number == record.best), None)
    confirmation = record.fresh.confirmation
    return render_note(
        "study.md.j2",
        study=study,
        record=record,
        progress=_progress(study, record),
        left=_left(left),
        plan=plan,
        why_left=why_left,
        is_done=is_done,
        named_trials=_named_trials(study, record),
        max_rows=MAX_ROWS,
        warning=protocol_warning(record),
        best=best,
        settings=format_params({**best.params, **best.settings}) if best is not None else "",
        confirmation=confirmation,
        confirmed=confirmation.best if confirmation is not None else None,
        measured=_measured,
        describe_contrast=describe_contrast,
        describe_reason=describe_reason,
        address=quote(record.study_name, safe=":="),
    )


def derived_note(study: NotedStudy, evidence: Evidence) -> str:
    """Return the note of a study that stands beside another one."""
    file_name, _, rest = evidence.study_name.partition(":")
    # What is measured on images that were learnt from says nothing.
    quantities = ["val_accuracy"] * (study.purpose != "rerun-all")
    if any("test_accuracy" in trial.values for trial in evidence.trials):
        quantities.append("test_accuracy")
    labels = list(evidence.definition.get("named", {}))
    rows, seeds = [], 1
    for label in labels:
        trials = replicates(evidence, label)
        seeds = max(seeds, len(trials))
        figures = (measure(evidence, trials, key) for key in quantities)
        rows.append((code(label), str(len(trials)), *map(_measured, figures)))
    columns = ("configuration", "seeds", *map(format_key, quantities))
    commands = dict.fromkeys(derived_command(study, label, str(seeds)) for label in labels)
    return render_note(
        "derived.md.j2",
        study=study,
        name=evidence.study_name,
        parent=f"{file_name.partition('/')[0]}:{rest}",
        table=pipe_table(columns, rows[:MAX_ROWS], centred=len(columns) - 1) if rows else "",
        commands=list(commands)[:3],
    )


# --- how far it is --------------------------------------------------------------------------------


def _progress(study: NotedStudy, record: ReportRecord) -> str:
    seeds, named = study.spec.profile.seeds, len(study.spec.named)
    sampled = [trial for trial in record.trials if trial.kind == "sampled"]
    complete, pruned = (_in(sampled, state) for state in ("complete", "pruned"))
    done = []
    if named:
        replicates_done = sum(min(len(model.trials), seeds) for model in record.models)
        done.append(f"named trials {replicates_done} of {named * seeds} done")
    if sampled or study.spec.profile.trials:
        counts = f"({complete} complete, {pruned} pruned)"
        done.append(f"sampled trials {complete + pruned} done {counts}")
    others = (
        (
            _in([trial for trial in record.trials if trial.queued], "complete"),
            "queued by hand and complete",
        ),
        (_in(record.trials, "fail"), "failed"),
        (_in(record.trials, REFUSED), "refused"),
        (_in(record.trials, "running"), "running"),
        (_in(record.trials, "waiting"), "waiting to be begun or continued"),
    )
    return "; ".join([*done, *(f"{number} {word}" for number, word in others if number)])


def _in(trials: Sequence[TrialRecord], state: str) -> int:
    return sum(trial.state == state for trial in trials)


def _left(left: Work) -> str:
    parts = (len(left.named), "named"), (left.sampled, "sampled"), (len(left.queued), "queued")
    return " and ".join(f"{number} {word}" for number, word in parts if number)


# --- what it says so far --------------------------------------------------------------------------


def _named_trials(study: NotedStudy, record: ReportRecord) -> str:
    has_test = any("test_accuracy" in model.measured for model in record.models)
    has_published = any(model.is_comparable and model.published for model in record.models)
    columns = ["named trial", "sets", "seeds", "validation accuracy"]
    columns += ["test accuracy"] * has_test
    columns += [f"as published: {plain(record.published_source)}"] * has_published
    rows = []
    for model in record.models[:MAX_ROWS]:
        row = [
            code(short_name(model.name)),
            plain(format_params(model.own)) or "the protocol as it is",
        ]
        row += [f"{len(model.trials)} of {study.spec.profile.seeds}"]
        row += [_measured(model.measured.get("val_accuracy"))]
        row += [_measured(model.measured.get("test_accuracy"))] * has_test
        row += [_published(model)] * has_published
        rows.append(row)
    return pipe_table(columns, rows, centred=len(columns) - 2)


def _measured(measured: Measured | None) -> str:
    """Return a mean accuracy with its interval."""
    if measured is None:
        return "not yet"
    interval = format_interval("val_accuracy", measured)
    return f"{format_quantity('val_accuracy', measured.mean)} ({interval})"


def _published(model: ModelRecord) -> str:
    stated = (
        f"{format_quantity(key, model.published[key])} ({word})"
        for key, word in (("val_accuracy", "validation"), ("test_accuracy", "test"))
        if key in model.published
    )
    if model.published and not model.is_comparable:
        return "under another protocol"
    return ", ".join(stated) or "not stated"
