"""The commands ``study export`` and ``study import``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cifar_tune.cli.console import find_by_name, print_json
from cifar_tune.storage.location import locate_storage


def export_study(
    name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    storage: str | None,
    out: Path,
) -> None:
    """Write a stored study, with those that were derived from it, to a file."""
    from cifar_tune.evaluation.export import study

    spec, location = find_by_name(name, profile, epochs, settings, storage)
    content = study.export_study(location, spec.study_name)
    study.write_export(content, out)
    counts = ", ".join(
        f"{one['study_name']} with {len(one['trials'])} trials" for one in content["studies"]
    )
    print(f"{out}: {counts}; {len(content['test_reads'])} reads of the test images")  # noqa: T201


def import_studies(files: Sequence[Path], storage: str | None, *, as_json: bool) -> None:
    """Add what files have of studies, and the database does not."""
    from cifar_tune.evaluation.export import study

    location = locate_storage(storage)
    contents = [study.read_export(path) for path in files]  # all, before any is added
    found = [study.import_study(content, location) for content in contents]
    trials = {name: added for one in found for name, added in one.trials.items()}
    test_reads = sum(one.test_reads for one in found)
    if as_json:
        print_json({"storage": str(location), "trials": trials, "test_reads": test_reads})
        return
    for study_name, added in trials.items():
        print(f"{study_name}: {added} trials added to {location}")  # noqa: T201
    print(f"{test_reads} reads of the test images added to the ledger")  # noqa: T201
