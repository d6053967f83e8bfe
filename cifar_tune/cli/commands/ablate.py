"""The command ``cifar-tune best ablate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cifar_tune.cli import best_tables
from cifar_tune.cli.commands.best import BestOptions, exit_code, find, run_derived
from cifar_tune.cli.commands.best_json import Found, ablation_json, header_json
from cifar_tune.cli.console import make_console, print_json
from cifar_tune.errors import InputError

if TYPE_CHECKING:
    from cifar_tune.evaluation.candidates import Candidate


def ablate_best(
    name: str,
    against: str | None,
    groups: Sequence[str],
    seeds: int,
    trial: int | None,
    trial_name: str | None,
    options: BestOptions,
) -> int:
    """Train a configuration without each of its hyperparameters and print it; the exit code.

    Args:
        against: the named trial whose values are put back; None takes the first of the study file.
        groups: hyperparameters to put back, those with commas between them together; empty puts
            back each that differs, by itself.
    """
    if trial is not None and trial_name is not None:
        raise InputError("--trial and --name: expected one of the two")
    found = find(name, options, None)

    from cifar_tune.evaluation.ablation import put_back
    from cifar_tune.evaluation.best import choose

    choice = choose(found.record, trial, trial_name)
    reference = _read_reference(found, against)
    parts = [
        put_back(choice.candidate, reference, keys)
        for keys in _read_groups(groups, choice.candidate, reference)
    ]
    console = make_console(to_stderr=options.as_json)
    console.print(f"Configuration: {best_tables.describe(choice.candidate)}; {choice.why}.")
    # Beside the re-runs and on their seeds, so that the configuration itself is trained once.
    outcome = run_derived(found, "rerun", [choice.candidate, *parts], seeds, options)
    after = find(name, options, None)
    known = {one.candidate.label: one for one in after.record.ablations}
    ablation = known.get(choice.candidate.label)  # none yet where it was interrupted at once
    if options.as_json:
        shown = None if ablation is None else ablation_json(ablation)
        print_json({**header_json(after), "ablation": shown})
    elif exit_code(outcome) == 0 and ablation is not None:
        best_tables.print_ablation(console, ablation)
    else:
        best_tables.print_unfinished(console, outcome)
    return exit_code(outcome)


def _read_reference(found: Found, against: str | None) -> Mapping[str, float]:
    """The values of a named trial of the study file."""
    named = {one.name: one.params for one in found.spec.named}
    if not found.spec.space.ranges():
        raise InputError(f"{found.name}: searches nothing, so there is nothing to put back")
    if not named:
        raise InputError(f"{found.name}: has no named trial whose values could be put back")
    chosen = next(iter(named)) if against is None else against
    if chosen not in named:
        raise InputError(f"--against {against}: expected a named trial: {', '.join(named)}")
    return named[chosen]


def _read_groups(
    groups: Sequence[str], candidate: Candidate, reference: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """Which hyperparameters are put back together."""
    differing = [key for key, value in reference.items() if candidate.params[key] != value]
    if not differing:
        raise InputError(f"{candidate.label}: has the values that are to be put back")
    wanted = [tuple(group.split(",")) for group in groups]
    for group in wanted:
        for key in group:
            if key not in differing:
                raise InputError(
                    f"--only {','.join(group)}: {key} is not one of the hyperparameters that "
                    f"differ: {', '.join(differing)}"
                )
    return wanted or [(key,) for key in differing]
