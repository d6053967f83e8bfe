"""The command ``cifar-tune study delete``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cifar_tune.cli.confirmation import check_answerable, confirm, yes_option
from cifar_tune.cli.console import make_console, print_json
from cifar_tune.cli.help import command
from cifar_tune.cli.options import study_options
from cifar_tune.storage.location import StorageLocation
from cifar_tune.wording import format_count

if TYPE_CHECKING:
    from cifar_tune.storage.deletion import StudyContents
    from cifar_tune.storage.selector import StudySelector


@command("delete", epilog="Example: cifar-tune study delete dropout --profile quick")
@yes_option
@study_options("profile", "epochs", "set", "storage", "json")
def study_delete(study: StudySelector, is_confirmed: bool, as_json: bool) -> None:
    """Delete a stored study with its files.

    NAME is the name of a study file, its path, or the full name of a stored study, such as
    dropout:quick:epochs=2, which needs no study file. Confirmations and re-runs of the study are
    deleted too. The study file, reports and the ledger of test reads stay. What is deleted is shown
    first, and --yes or an answer is needed.
    """
    name = click.get_current_context().params["name"]
    location = study.location

    from cifar_tune.storage.deletion import hold_for_deletion, is_stored

    if ":" not in name or not is_stored(location, name):
        name = study.find()[0].study_name
    check_answerable("study delete", is_confirmed=is_confirmed)
    errors = make_console(to_stderr=True)
    with hold_for_deletion(location, name, errors.print) as deletion:
        notice = "\n".join(_describe(deletion.contents, location))
        confirm(notice, "Delete this?", "study delete", is_confirmed=is_confirmed)
        deletion.run()
    if as_json:
        deleted = [_to_dict(contents) for contents in deletion.contents]
        print_json({"storage": str(location), "deleted": deleted})
    else:
        make_console().print(f"Deleted {name} from {location}.", soft_wrap=True)


def _describe(contents: tuple[StudyContents, ...], location: StorageLocation) -> list[str]:
    """Return what is going to be deleted and what stays, in lines."""
    lines = [f"In {location}:"]
    for study in contents:
        lines.append(
            f"  {study.study_name}: {format_count(study.trials, 'trial')}, "
            f"{study.size_bytes / 1e6:,.1f} MB of files"
        )
        lines += [f"    {path}" for path in study.files if path.is_dir()]
        if artifacts := sum(not path.is_dir() for path in study.files):
            lines.append(f"    {format_count(artifacts, 'artifact')}")
        if study.readers:
            readers = ", ".join(study.readers)
            lines.append(f"    its files stay, since they belong to a copy of it too: {readers}")
    return [*lines, "The study file, reports and the ledger of test reads stay."]


def _to_dict(contents: StudyContents) -> dict[str, Any]:
    return {
        "study_name": contents.study_name,
        "trials": contents.trials,
        "files": list(map(str, contents.files)),
        "bytes": contents.size_bytes,
        "kept_for": list(contents.readers),
    }
