"""A stored study of four named trials and two sampled ones, of which there is a best."""

from __future__ import annotations

import optuna
from command_line import Cli

NAMES = [f"dropout/p=0.{i}" for i in range(1, 5)]
CONFIRM, RERUN = "dropout/confirm:quick", "dropout/rerun:quick"


def stored(name: str) -> optuna.Study | None:
    url = "sqlite:///storage/cifar-tune.db"
    found = [one for one in optuna.get_all_study_names(url) if one.startswith(name)]
    return optuna.load_study(study_name=found[0], storage=url) if found else None


def said(cli: Cli, *arguments: str) -> str:
    """What a command prints, without its line breaks."""
    return " ".join(cli(*arguments).out.split())


def trials(name: str) -> list[optuna.trial.FrozenTrial]:
    study = stored(name)
    assert study is not None
    return study.get_trials()
