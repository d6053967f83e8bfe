"""Writes the learning curves of a stored study as JSON: what ``search_benchmark.py`` learns from.

    OMP_NUM_THREADS=1 cifar-tune study run tests/data/curves.toml --profile quick --workers inline
    python tests/search_benchmark/record_curves.py curves:quick \\
        --out tests/data/learning_curves.json

The storage is the one that ``study run`` has by default, or ``$CIFAR_TUNE_STORAGE``. Trials that
are not complete are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from curves import SEARCHED

from cifar_tune.errors import CifarTuneError
from cifar_tune.evaluation.evidence import Evidence, TrialRecord, gather
from cifar_tune.storage.location import locate_storage

COMMAND = (
    "OMP_NUM_THREADS=1 cifar-tune study run tests/data/curves.toml --profile quick --workers inline"
)


def describe_curves(evidence: Evidence, command: str, day: str) -> dict[str, Any]:
    """The complete trials of a study with what they were made with.

    Args:
        command: that made them.
        day: on which, as YYYY-MM-DD.
    """
    complete = [trial for trial in evidence.trials if trial.state == "complete"]
    return {
        "command": command,
        "date": day,
        "devices": sorted({trial.device for trial in complete}),
        "software": list(evidence.software),
        "study": evidence.study_name,
        "protocol": evidence.definition["protocol"],
        "space": evidence.definition["space"],
        "trials": list(map(_describe_trial, complete)),
    }


def _describe_trial(trial: TrialRecord) -> dict[str, Any]:
    return {
        "model": trial.model,
        "seed": trial.seed,
        "params": {name: trial.config[name] for name in SEARCHED},
        "val_accuracy": [epoch.val_accuracy for epoch in trial.history],
        "seconds": [round(epoch.seconds, 2) for epoch in trial.history],
    }


def main() -> int:
    """Read the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", help="its stored name, such as curves:quick")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--storage", help="database that has it")
    parser.add_argument("--command", default=COMMAND, help="that made it")
    parser.add_argument("--date", default=date.today().isoformat(), help="on which it was made")
    given = parser.parse_args()
    try:
        evidence = gather(locate_storage(given.storage), given.study, given.command)
    except CifarTuneError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    curves = describe_curves(evidence, given.command, given.date)
    lines = [json.dumps(trial) for trial in curves.pop("trials")]
    head = json.dumps(curves, indent=1).removesuffix("\n}")
    given.out.write_text(f'{head},\n "trials": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n", "utf-8")
    sys.stdout.write(f"{given.out}: {len(lines)} trials\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
