"""The section with what all trials of a study have in common, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_key, format_setting
from cifar_tune.reports.blocks import Block, Command, Facts, Prose


def draw_protocol(record: ReportRecord) -> Iterator[Block]:
    """Draw the protocol, where it ran, and the commands."""
    protocol = [(format_key(key), format_setting(value)) for key, value in record.protocol.items()]
    places = [("device", device) for device in record.devices]
    places += [("software", software) for software in record.software]
    plan = record.command.replace("study run", "study plan")
    show = f"cifar-tune study show {shlex.quote(record.file_name)}"
    yield Prose(f"Profile {record.profile}: {record.profile_description}.")
    yield Facts("What all trials have in common", tuple(protocol))
    yield Facts("Where it ran", tuple(places))
    yield Command("Run the study, or what is left of it", record.command)
    yield Command("See what a run would take", plan)
    yield Command("Make this report again", record.report_command)
    yield Command("See the study file and its trials in the terminal", show)
