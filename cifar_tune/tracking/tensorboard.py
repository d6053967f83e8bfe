"""Event files for TensorBoard: one folder a study, one run a trial."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cifar_tune import paths
from cifar_tune.errors import InputError
from cifar_tune.search.trial_callbacks import TrialCallback, TrialInfo
from cifar_tune.tracking.values import import_tracker, list_metrics, list_values
from cifar_tune.training.records import EpochMetrics
from cifar_tune.wording import printable


class TensorBoardCallback(TrialCallback):
    """Write the epochs of each trial to an event file, and its hyperparameters at its end.

    The scalars are ``train/loss``, ``train/accuracy``, ``val/loss``, ``val/accuracy`` and
    ``seconds``, by epoch; accuracies are fractions. A trial that is resumed goes on in its own
    folder, ``FOLDER/STUDY/trial-NUMBER``. Show them with ``tensorboard --logdir FOLDER``. On the
    command line it is ``cifar-tune study run NAME --log tensorboard``.

    Needs ``cifar-tune[tensorboard]``.

    Args:
        folder: Where to write; None takes ``runs``.

    Raises:
        InputError: TensorBoard is not installed, or the folder cannot be written.

    Example:
        >>> callback = ct.TensorBoardCallback("storage/tensorboard")
        >>> outcome = ct.run_study("dropout", n_trials=5, callbacks=[callback])
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._module = import_tracker("torch.utils.tensorboard", "tensorboard", "tensorboard")
        self.folder = Path("runs" if folder is None else folder)
        here = self.folder.absolute()
        existing = next(place for place in (here, *here.parents) if os.path.lexists(place))
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            where = printable(self.folder)
            raise InputError(f"{where}: expected a folder that can be written, or nothing")
        self._writers: dict[tuple[str, int], Any] = {}

    def trial_begun(self, info: TrialInfo) -> None:
        """Open the event file of the trial."""
        place = paths.event_files(self.folder, info.study_name, info.trial.number)
        # What a run that died wrote of an epoch after the last one that is stored is hidden.
        purged = info.trial.epochs + 1 if info.trial.epochs else None
        writer = self._module.SummaryWriter(str(place), purge_step=purged)
        self._writers[_key(info)] = writer

    def epoch_ended(self, info: TrialInfo, metrics: EpochMetrics) -> None:
        """Write the metrics, which TensorBoard sees at once."""
        writer = self._writers[_key(info)]
        for name, value in list_metrics(metrics).items():
            writer.add_scalar(name, value, metrics.epoch)
        writer.flush()

    def trial_ended(self, info: TrialInfo) -> None:
        """Write hyperparameters and result of a trial that is complete, and close its file."""
        writer = self._writers.pop(_key(info))
        if info.trial.state == "complete":
            result = {"val_accuracy": info.trial.val_accuracy}
            writer.add_hparams(list_values(info), result, run_name=".")
        writer.close()


def _key(info: TrialInfo) -> tuple[str, int]:
    return info.study_name, info.trial.number
