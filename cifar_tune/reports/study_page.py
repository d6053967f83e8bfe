"""Draws the report of a study: from its record to the blocks of a page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.records import ModelRecord, TrialRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.words import (
    anchor,
    count,
    say,
    say_differences,
    say_effect,
    say_setting,
    say_spread,
    say_value,
    short,
    sources,
)
from cifar_tune.reports import blocks
from cifar_tune.reports.blocks import Block, Cell, Page, Prose, Row, Section, Table
from cifar_tune.reports.figures.named_trials import (
    draw_accuracies,
    draw_comparison,
    draw_curves,
    draw_pareto,
    draw_sweep,
)
from cifar_tune.reports.sections.claims import claim_blocks
from cifar_tune.reports.sections.confusion import confusion_blocks
from cifar_tune.reports.sections.reruns import fresh_blocks
from cifar_tune.reports.sections.search import search_blocks
from cifar_tune.wording import format_params


def draw_report(record: ReportRecord, command: str) -> Page:
    """The page of a study's report.

    Args:
        command: that makes this report again.
    """
    candidates = (
        ("results", "Results", _results(record, command)),
        ("claims", "Claims, judged", claim_blocks(record, command)),
        ("sweep", _sweep_title(record), _sweep(record, command)),
        ("curves", "Learning curves", _curves(record, command)),
        ("fresh", "On fresh seeds", fresh_blocks(record, command)),
        ("mistakes", "What it gets wrong", confusion_blocks(record, command)),
        ("search", "The search", search_blocks(record, command)),
        ("trials", "All trials", _trials(record)),
        ("protocol", "Protocol, and how to run it again", _protocol(record, command)),
    )
    sections = ((id_, title, tuple(found)) for id_, title, found in candidates)
    return Page(
        title=record.title,
        lead=_lead(record),
        warning=_warning(record),
        sections=tuple(Section(*one) for one in sections if one[2]),
        footer=f"{record.study_name}, made by {command} with {'; '.join(record.software)}.",
    )


# --- above everything else ----------------------------------------------------------------------


def _lead(record: ReportRecord) -> str:
    states = {
        state: sum(trial.state == state for trial in record.trials)
        for state in ("complete", "pruned", "fail", "dropped", "running", "waiting")
    }
    told = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    verdicts = [
        f"{sum(claim.verdict == verdict for claim in record.claims)} {verdict}"
        for verdict in ("supported", "refuted", "undecided")
    ]
    claims = (
        f" Of {count(len(record.claims), 'claim')}: {', '.join(verdicts)}." if record.claims else ""
    )
    return f"{record.description} {count(len(record.trials), 'trial')}: {told}.{claims}"


def _warning(record: ReportRecord) -> str:
    chosen = " ".join(record.fresh.test_use.warnings())
    return " ".join(filter(None, (protocol_warning(record), chosen)))


def protocol_warning(record: ReportRecord) -> str:
    """Why the figures say nothing about those that were published; empty where they do."""
    if not record.differences:
        return ""
    return (
        f"These figures are of the profile {record.profile}, not of the protocol that the "
        f"published figures were measured with, and say nothing about them: "
        f"{say_differences(record.differences)}."
    )


# --- results ------------------------------------------------------------------------------------


def _results(record: ReportRecord, command: str) -> Iterator[Block]:
    yield from (blocks.Missing(one.what, one.command) for one in record.missing)
    trained = [model for model in record.models if model.trials]
    if not trained:
        return
    yield _results_table(record)
    stated = any(model.published for model in record.models)
    numbers = tuple(number for model in trained for number in model.trials)
    made_from = sources(record.trials, numbers)
    yield blocks.Chart(
        "accuracies",
        "Accuracy of each model",
        "Mean over seeds with its 95 % interval, for the scatter of seeds and for the finite "
        "number of images; without a bar where there is one seed."
        + (" Open symbols: as published, one run each." if _stated_beside(record) else ""),
        draw_accuracies(record),
        made_from,
        command,
    )
    if len(trained) > 1 and record.pareto:
        front = ", ".join(short(name) for name in record.pareto)
        yield blocks.Chart(
            "accuracy-against-time",
            "Accuracy against time",
            f"Mean {say(record.pareto_quantity)} and mean time of training and validation, with "
            f"95 % intervals, on {' and '.join(record.devices)}. Filled: no other is as good in "
            f"both ({front}).",
            draw_pareto(record),
            made_from,
            command,
        )
    if stated:
        yield _published_table(record)
        if not record.is_comparable:
            yield blocks.Command(
                "Run under the protocol of the published figures",
                f"cifar-tune study run {shlex.quote(record.file_name)} "
                f"--profile {record.published_profile}",
            )
    if record.remarks:
        yield blocks.Points(f"What to know of {record.published_source}", record.remarks)


def _results_table(record: ReportRecord) -> Table:
    rows = []
    for model in record.models:
        name = Cell(
            short(model.name), note=format_params(model.own), link=_link(model), is_code=True
        )
        seeds = Cell(str(len(model.trials)), is_number=True)
        rows.append(Row((name, seeds, *(_quantity_cell(model, key) for key in QUANTITIES))))
    reads = record.fresh.test_use.reads
    return Table(
        "results-table",
        f"Measured here, on {' and '.join(record.devices)}",
        ("model", "seeds", *(say(key) for key in QUANTITIES)),
        tuple(rows),
        note="Mean over seeds, with its 95 % interval and the standard deviation; accuracies after "
        "the last epoch. Training accuracy is that of the epoch's images as they were used, "
        "augmentation and dropout included. Time is that of training and validation. The test "
        f"images were read {count(reads, 'time')} for this study.",
    )


def _link(model: ModelRecord) -> str:
    return anchor(model.trials[0]) if model.trials else ""


def _quantity_cell(model: ModelRecord, quantity: str) -> Cell:
    measured = model.measured.get(quantity)
    if measured is None:
        return Cell("missing", tone="missing", is_number=True)
    return Cell(
        say_value(quantity, measured.mean),
        note=say_spread(quantity, measured),
        link=anchor(measured.trials[0]),
        is_number=True,
    )


def _published_table(record: ReportRecord) -> Table:
    """What was published, beside ours where the protocol is the same, else by itself."""
    rows = []
    for model in record.models:
        if not model.published:
            continue
        cells = [Cell(short(model.name), note=model.note, is_code=True)]
        for quantity in QUANTITIES:
            stated = model.published.get(quantity)
            text = "not stated" if stated is None else say_value(quantity, stated)
            cells.append(Cell(text, note=_beside(model, quantity), is_number=True))
        rows.append(Row(tuple(cells)))
    beside = _stated_beside(record)
    note = "Another protocol than that of the figures above: the two are not to be compared."
    if beside:
        note = (
            "Small: ours, under the same protocol, and the difference. Times are of other "
            f"devices: {record.published_device} there, {' and '.join(record.devices)} here."
        )
    if beside and len(beside) < len(rows):
        note += " The others have another protocol here and are not to be compared."
    return Table(
        "published-table",
        f"As published in {record.published_source}, on {record.published_device}, one run each",
        ("model", *(say(key) for key in QUANTITIES)),
        tuple(rows),
        note=note,
    )


def _stated_beside(record: ReportRecord) -> list[ModelRecord]:
    """The models whose published figures are of the same protocol."""
    return [model for model in record.models if model.is_comparable and model.published]


def _beside(model: ModelRecord, quantity: str) -> str:
    measured, stated = model.measured.get(quantity), model.published.get(quantity)
    if not model.is_comparable or measured is None or stated is None:
        return ""
    ours = f"ours {say_value(quantity, measured.mean)}"
    if quantity == "seconds":
        return ours
    return f"{ours}, {say_effect(quantity, measured.mean - stated)}"


# --- sweep and curves ---------------------------------------------------------------------------


def _sweep_title(record: ReportRecord) -> str:
    return f"Accuracy against {say(record.sweep.parameter)}" if record.sweep else ""


def _sweep(record: ReportRecord, command: str) -> Iterator[Block]:
    sweep = record.sweep
    if sweep is None:
        return
    numbers = [number for model in record.models for number in model.trials]
    others = [one[2] for one in sweep.others]
    also = (
        " Sampled trials differ in everything that is searched, so they show where the search "
        "looked rather than the effect of one value."
        if others
        else ""
    )
    if numbers or others:
        yield blocks.Chart(
            "sweep-chart",
            _sweep_title(record),
            "Named trials, equal but for this value: mean over seeds with 95 % interval." + also,
            draw_sweep(record, sweep),
            sources(record.trials, (*numbers, *others)),
            command,
        )


def _curves(record: ReportRecord, command: str) -> Iterator[Block]:
    by_number = {trial.number: trial for trial in record.trials}
    found = [
        (model.name, [by_number[number] for number in model.trials])
        for model in record.models
        if model.trials
    ]
    if len(found) > 1:
        yield blocks.Chart(
            "curves-compared",
            "The models compared",
            "Validation accuracy after each epoch: mean over seeds, the band from the lowest to "
            "the highest seed.",
            draw_comparison(found),
            sources(record.trials, tuple(one.number for _, trials in found for one in trials)),
            command,
        )
    for name, trials in found:
        seeds = "one seed" if len(trials) == 1 else f"mean over {len(trials)} seeds"
        yield blocks.Chart(
            f"curves-{short(name)}".replace("=", "-").replace(".", "-"),
            short(name),
            f"Accuracy and loss by epoch: {seeds}"
            + (", the band from the lowest to the highest." if len(trials) > 1 else "."),
            draw_curves(trials),
            sources(record.trials, tuple(one.number for one in trials)),
            command,
            height=460,
        )


# --- trials and protocol ------------------------------------------------------------------------


def _trials(record: ReportRecord) -> Iterator[Block]:
    rows = tuple(Row(_trial_cells(record, trial), anchor(trial.number)) for trial in record.trials)
    yield Table(
        "trials-table",
        "Every trial, with the command that trains it",
        ("#", "trial", "state", "settings", "epochs", "training", "validation", "test", "time"),
        rows,
        note="A sampled trial is made again by the whole study's command in an empty storage.",
        is_long=len(rows) > 25,
    )


def _trial_cells(record: ReportRecord, trial: TrialRecord) -> tuple[Cell, ...]:
    planned = trial.epochs_planned
    epochs = f"{len(trial.history)} of {planned}" if planned else str(len(trial.history))
    state = "complete, best" if trial.number == record.best else trial.state
    tones = {"complete": "good", "fail": "bad", "pruned": "unsure"}
    figures = (
        Cell(say_value(key, trial.values[key]), is_number=True)
        if key in trial.values
        else Cell("", is_number=True)
        for key in QUANTITIES
    )
    seed = f"seed {trial.seed}" if trial.seed is not None else ""
    return (
        Cell(str(trial.number), is_number=True),
        Cell(trial.kind, note=seed, is_code=True),
        Cell(state, note=trial.failure, tone=tones.get(trial.state, "plain")),  # type: ignore[arg-type]
        Cell(format_params({**trial.params, **trial.settings}), note=trial.command),
        Cell(epochs, is_number=True),
        *figures,
    )


def _protocol(record: ReportRecord, command: str) -> Iterator[Block]:
    yield Prose(f"Profile {record.profile}: {record.profile_description}.")
    protocol = [(say(key), say_setting(value)) for key, value in record.protocol.items()]
    yield blocks.Facts("What all trials have in common", tuple(protocol))
    yield blocks.Facts(
        "Where it ran",
        (
            *(("device", device) for device in record.devices),
            *(("software", software) for software in record.software),
        ),
    )
    name = shlex.quote(record.file_name)
    yield blocks.Command("Run the study, or what is left of it", record.command)
    yield blocks.Command(
        "See what a run would take", record.command.replace("study run", "study plan")
    )
    yield blocks.Command("Make this report again", command)
    yield blocks.Command(
        "See the study file and its trials in the terminal", f"cifar-tune study show {name}"
    )
