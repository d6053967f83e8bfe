"""The note of a study: what it asks, how far it is, and what it says so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from cifar_tune.config.wording import format_params
from cifar_tune.dashboard.notes.trial_notes import NotedStudy, derived_command
from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.measure import measure, replicates
from cifar_tune.evaluation.named_trials import ModelRecord
from cifar_tune.evaluation.quantities import Measured
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_interval, format_key, format_quantity, short_name
from cifar_tune.reports.markdown import code, code_block, pipe_table, plain
from cifar_tune.reports.sections.claims import describe_contrast, describe_reason
from cifar_tune.reports.study_page import protocol_warning
from cifar_tune.search.plan import Plan, Work
from cifar_tune.storage.records import REFUSED
from cifar_tune.wording import format_count, format_duration

MAX_ROWS = 40
"""Rows of the table of named trials; the report has all."""


def study_note(study: NotedStudy, record: ReportRecord, progress: Progress) -> str:
    """Return the note of a study of a study file."""
    parts = [
        f"## {plain(record.title)}",
        plain(record.description),
        _protocol(study, record),
        "\n".join(_progress(study, record, progress)),
        _named_trials(study, record),
        _best(study, record),
        _claims(record),
        "### What to do next",
        code_block(
            f"cifar-tune {command} {study.arguments}" for command in ("report", "study run")
        ),
        "Queue a trial, see what is running: "
        f"[/queue](/queue/{quote(record.study_name, safe=':=')}), with `cifar-tune serve`.",
    ]
    return "\n\n".join(filter(None, parts))


def derived_note(study: NotedStudy, evidence: Evidence) -> str:
    """Return the note of a study that stands beside another one."""
    name = evidence.study_name
    file_name, _, rest = name.partition(":")
    parent = f"{file_name.partition('/')[0]}:{rest}"
    what = {
        "confirm": "The best configurations, trained again on fresh seeds, to choose among them",
        "rerun": "Configurations trained again on fresh seeds, for the test images",
        "rerun-all": "Configurations trained again on fresh seeds and on the validation images "
        "too, for the test images",
    }[study.purpose or "rerun"]
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
        rows.append((code(label), str(len(trials)), *map(_figure, figures)))
    columns = ("configuration", "seeds", *map(format_key, quantities))
    commands = (derived_command(study, label, str(seeds)) for label in labels)
    parts = [
        f"## {plain(name)}",
        f"{what}. Belongs to {code(parent)}, whose report tells what came of it.",
        pipe_table(columns, rows[:MAX_ROWS], centred=len(columns) - 1) if rows else "",
        code_block([f"cifar-tune report {study.arguments}", *list(dict.fromkeys(commands))[:3]]),
    ]
    return "\n\n".join(filter(None, parts))


# --- what it is, and how far ----------------------------------------------------------------------


def _protocol(study: NotedStudy, record: ReportRecord) -> str:
    protocol = study.spec.protocol
    weights = ", ".join(sorted(study.spec.weights())) or "none"
    return (
        f"{code(record.study_name)}, profile {record.profile}: {protocol.train_images:,} training "
        f"and {protocol.validation_images:,} validation images ({plain(protocol.data)}) at "
        f"{protocol.input_size} px; {format_count(protocol.epochs, 'epoch')} a trial; pretrained "
        f"weights: {plain(weights)}."
    )


def _progress(study: NotedStudy, record: ReportRecord, progress: Progress) -> Iterator[str]:
    wanted = len(study.spec.named) * study.spec.profile.seeds
    named = sum(min(len(model.trials), study.spec.profile.seeds) for model in record.models)
    sampled = [trial for trial in record.trials if trial.kind == "sampled"]
    complete, pruned = (_in(sampled, state) for state in ("complete", "pruned"))
    queued = _in([trial for trial in record.trials if trial.queued], "complete")
    done = [f"named trials {named} of {wanted} done"] if wanted else []
    if sampled or study.spec.profile.trials:
        counts = f"({complete} complete, {pruned} pruned)"
        done.append(f"sampled trials {complete + pruned} done {counts}")
    others = (
        (queued, "queued by hand and complete"),
        (_in(record.trials, "fail"), "failed"),
        (_in(record.trials, REFUSED), "refused"),
        (_in(record.trials, "running"), "running"),
        (_in(record.trials, "waiting"), "waiting to be begun or continued"),
    )
    done += [f"{number} {word}" for number, word in others if number]
    yield f"**Progress:** {'; '.join(done)}."
    left, plan = progress.left, progress.plan
    if left.trials:
        parts = (len(left.named), "named"), (left.sampled, "sampled"), (len(left.queued), "queued")
        what = " and ".join(f"{number} {word}" for number, word in parts if number)
        why = f": {plain(progress.why_left)}" if progress.why_left else ""
        yield f"Not begun or not ended: {what}{why}."
    if plan is not None and (left.trials or _in(record.trials, "running")):
        yield (
            f"When it began, this run expected {format_duration(plan.seconds_expected)} "
            f"({format_duration(plan.seconds_least)} to {format_duration(plan.seconds_most)}) for "
            f"{format_count(plan.trials, 'trial')} of up to {format_count(plan.epochs, 'epoch')}."
        )
    budget = study.spec.profile.budget
    if budget.epochs is not None:
        trained = sum(len(trial.history) for trial in record.trials)
        yield f"Budget: {trained:,} of {budget.epochs:,} epochs are used."
    if budget.device_seconds is not None:
        yield f"Budget: {format_duration(budget.device_seconds)} of a device."


def _in(trials: Sequence[TrialRecord], state: str) -> int:
    return sum(trial.state == state for trial in trials)


# --- what it says so far --------------------------------------------------------------------------


def _named_trials(study: NotedStudy, record: ReportRecord) -> str:
    if not record.models:
        return ""
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
        row += [_figure(model.measured.get("val_accuracy"))]
        row += [_figure(model.measured.get("test_accuracy"))] * has_test
        row += [_published(model)] * has_published
        rows.append(row)
    parts = [
        "Mean over seeds with its 95 % interval.",
        pipe_table(columns, rows, centred=len(columns) - 2),
    ]
    if len(record.models) > MAX_ROWS:
        parts.append(f"And {len(record.models) - MAX_ROWS} more, in the report.")
    if any(model.published for model in record.models):
        parts.append(plain(protocol_warning(record)))
    return "\n\n".join(filter(None, ["### Named trials", *parts]))


def _figure(measured: Measured | None) -> str:
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


def _best(study: NotedStudy, record: ReportRecord) -> str:
    if record.best is None:
        return ""
    best = next(trial for trial in record.trials if trial.number == record.best)
    values = format_params({**best.params, **best.settings})
    text = (
        f"**Best so far:** trial {best.number}, {plain(best.kind)}, validation "
        f"accuracy {format_quantity('val_accuracy', best.values['val_accuracy'])} "
        f"({plain(values)}). The best of many noisy values looks better than it is: "
        f"{code(f'cifar-tune best show {study.arguments}')} says by how much."
    )
    confirmation = record.fresh.confirmation
    confirmed = confirmation.best if confirmation is not None else None
    if confirmation is not None and confirmed is not None and confirmed.val_accuracy is not None:
        text += (
            f" On {format_count(confirmation.seeds, 'fresh seed')} the best is "
            f"{plain(confirmed.candidate.label)}: {_figure(confirmed.val_accuracy)}."
        )
    return f"{text} {record.fresh.test_use.sentence()}"


def _claims(record: ReportRecord) -> str:
    if not record.claims:
        return ""
    lines = ["### Claims, judged so far", ""]
    for claim in record.claims:
        text = f"**{claim.verdict}**: {plain(claim.text)}"
        if claim.deciding is not None:
            text += f" {plain(describe_contrast(claim, claim.contrasts[claim.deciding]))}."
        lines.append(f"- {text} {plain(describe_reason(claim))}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Progress:
    """What the run that goes on has to do.

    Attributes:
        left: What it has not begun.
        plan: What it had to do when it began; None where nothing was left then.
        why_left: What kept the run from doing it, in words; None while it goes on.
    """

    left: Work
    plan: Plan | None
    why_left: str | None = None
