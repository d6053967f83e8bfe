"""The best configuration of a study: which it is, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from cifar_tune import paths
from cifar_tune.api.retraining import confirm, read_test_images, retrain
from cifar_tune.api.runs import Run, RunSettings, make_run, read_machine
from cifar_tune.api.studies import Storage, check_whole, find_stored, locate
from cifar_tune.errors import TrialFailedError, UnfinishedError
from cifar_tune.evaluation.best import BestRecord, choose, compute_best
from cifar_tune.wording import format_count

if TYPE_CHECKING:
    import torch
    from optuna.trial import FrozenTrial
    from torch import nn

    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.config.trial import TrainOn
    from cifar_tune.evaluation.fresh_runs import Rerun
    from cifar_tune.evaluation.test_reads import TestResult
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.preparation import MachineOptions


def best_trials(
    study: StudySpec | str, *, storage: Storage = None, top: int | None = None
) -> BestRecord:
    """Rank the configurations of a stored study by what is expected of them on new seeds.

    The best of many noisy values is partly lucky; the ranking says how much of its lead is likely
    noise. Once ``confirm_best`` was run, its result counts and stands first.

    Args:
        study: The study of ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; as ``--storage``.
        top: Length of the short list that ``confirm_best`` trains; None takes 4.

    Returns:
        The ranking, with confirmations and re-runs so far; ``to_frame()`` makes a DataFrame of it,
        and a notebook shows it as a table.

    Raises:
        InputError: The study is not stored, or no trial is complete.
        StorageError: The database cannot be read.

    Example:
        >>> best = ct.best_trials("dropout", top=5)
        >>> best.likely_best.params
    """
    top = check_whole("top", top, 1)
    spec, location = find_stored(study, storage)
    return compute_best(location, spec, top)


def confirm_best(
    study: StudySpec | str,
    *,
    storage: Storage = None,
    n_seeds: int = 3,
    top: int | None = None,
    **settings: Unpack[RunSettings],
) -> BestRecord:
    """Train the short list again on new seeds, in pairs, and choose by the mean.

    It does what ``cifar-tune best confirm`` does: the runs are a study of their own, which the
    search never sees. A second call goes on where the first one ended; more seeds may be asked for.
    On Ctrl-C the trials save their state, and KeyboardInterrupt is raised.

    Args:
        study: The study of ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; as ``--storage``.
        n_seeds: New seeds of each configuration.
        top: Length of the short list; None takes 4.
        **settings: ``timeout``, ``workers``, ``callbacks``, ``device``, ``per_gpu``, ``slots`` and
            ``data_dir``, as for ``run_study``.

    Returns:
        The ranking with its ``confirmation``.

    Raises:
        InputError: The study is not stored, or no trial is complete.
        UnfinishedError: The time did not suffice; what is done is stored.
        TrialFailedError: A trial failed.
        StudyBusyError: Another process runs the confirmation.
        StorageError: The database or a file cannot be written.

    Example:
        >>> best = ct.confirm_best("dropout", n_seeds=3)
        >>> best.confirmation.best.candidate.label
    """
    check_whole("n_seeds", n_seeds, 1)
    before = best_trials(study, storage=storage, top=top)
    machine, run = _read_settings(settings)
    _check_done(confirm(before, n_seeds, machine, run), before)
    return compute_best(before.location, before.spec, top)


def rerun_best(
    study: StudySpec | str,
    *,
    storage: Storage = None,
    n_seeds: int = 5,
    trial: int | str | None = None,
    train_on: TrainOn = "train",
    **settings: Unpack[RunSettings],
) -> Rerun:
    """Train the best configuration again, and evaluate it on the test images, once per seed.

    It does what ``cifar-tune best rerun`` does. The test images are read only when all seeds are
    trained, and each read is written to the ledger of test reads before its figure is returned; a
    read that the ledger has is not made again. On Ctrl-C the trials save their state, and
    KeyboardInterrupt is raised.

    Args:
        study: The study of ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; as ``--storage``.
        n_seeds: New seeds.
        trial: Another configuration than the best: the number of one of its trials, or the name
            of a named trial. None takes the confirmed best, else the likely best.
        train_on: ``train``, or ``train+val`` to train on the validation images too.
        **settings: ``timeout``, ``workers``, ``callbacks``, ``device``, ``per_gpu``, ``slots`` and
            ``data_dir``, as for ``run_study``.

    Returns:
        The accuracies over the seeds; a notebook shows them as a table.

    Raises:
        InputError: The study is not stored, or has no such complete trial.
        UnfinishedError: The time did not suffice; what is done is stored, and no test image was
            read.
        TrialFailedError: A trial failed; no test image was read.
        StudyBusyError: Another process runs the re-runs.
        DataError: The images have no test split.
        StorageError: The database or a file cannot be written.

    Example:
        >>> rerun = ct.rerun_best("dropout", n_seeds=5)
        >>> rerun.test_accuracy.mean, rerun.test_accuracy.low, rerun.test_accuracy.high
    """
    check_whole("n_seeds", n_seeds, 1)
    before = best_trials(study, storage=storage)
    number, name = (trial, None) if isinstance(trial, int) else (None, trial)
    candidate = choose(before, number, name).candidate
    machine, run = _read_settings(settings)
    _check_done(retrain(before, candidate, train_on, n_seeds, machine, run), before)
    command = f"cifar_tune.rerun_best({before.spec.study_name!r}, n_seeds={n_seeds})"
    read_test_images(before, candidate, train_on, n_seeds, machine, command)
    rerun = compute_best(before.location, before.spec).rerun_of(candidate, train_on)
    if rerun is None:
        raise UnfinishedError(f"{candidate.label}: no seed of it is complete")
    return rerun


def evaluate_on_test(
    trial: FrozenTrial | int | str,
    *,
    study: StudySpec | str,
    storage: Storage = None,
    device: str | torch.device | None = None,
    data_dir: str | Path | None = None,
) -> TestResult:
    """Evaluate a complete trial, whose weights were kept, on the test images.

    The read is written to the ledger of test reads before the figure is returned. Picking among
    trials by such figures biases the winner's upward; to choose, use ``best_trials``.

    Args:
        trial: A trial of the study, its number, or its full name, such as
            ``dropout/p=0.3/seed=2``.
        study: The study of ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; as ``--storage``.
        device: ``cpu``, ``mps``, ``cuda`` or ``cuda:N``; None takes the best there is.
        data_dir: The folder of imported images; None takes ``$CIFAR_TUNE_DATA``, else the user's
            cache.

    Returns:
        Accuracy and loss on the test images.

    Raises:
        InputError: There is no such trial, or it is not complete.
        WeightsError: Its weights were not kept.
        DataError: The images have no test split, or are others by now.
        StorageError: The ledger cannot be written.

    Example:
        >>> ct.evaluate_on_test("dropout/p=0.3/seed=1", study="dropout").accuracy
    """
    from cifar_tune.dashboard.notes.annotator import refresh_notes
    from cifar_tune.evaluation import test_images
    from cifar_tune.training.device import choose_device

    spec, location = find_stored(study, storage)
    name = str(trial) if isinstance(trial, int | str) else str(trial.number)
    result = test_images.evaluate_on_test(
        location,
        spec.study_name,
        name,
        paths.data_root(None if data_dir is None else Path(data_dir)),
        choose_device(None if device is None else str(device)),
        f"cifar_tune.evaluate_on_test({name!r}, study={spec.study_name!r})",
    )
    refresh_notes(location, spec)
    return result


def load_model(trial: FrozenTrial, *, storage: Storage = None) -> nn.Module:
    """Load the trained network of a complete trial whose weights were kept.

    The network is torchvision's ``resnet18`` with the head of the trial, on the CPU and in
    evaluation mode. It takes float32 images [N, 3, S, S] in RGB, scaled to 0 to 1, resized to
    ``input_size`` = S and normalized per channel with ``normalize_mean`` and ``normalize_std``, all
    three in ``trial.user_attrs["config"]``; it returns logits [N, classes], in CIFAR-10's order of
    classes, or that of the imported images.

    A study keeps the weights of its best trials, and of its named ones, as ``keep_best`` and
    ``keep_weights`` of its profile say.

    Args:
        trial: The trial, such as ``study.best_trial``.
        storage: Where its study is stored: a path, a database URL, or None for the default.

    Returns:
        The network.

    Raises:
        InputError: The trial is of no study that is stored there.
        WeightsError: Its weights were not kept, are gone, or are no longer what they were.
        StorageError: The database cannot be read.

    Example:
        >>> study = ct.load_study("dropout:quick")
        >>> model = ct.load_model(study.best_trial)
        >>> logits = model(torch.zeros(1, 3, 32, 32))
    """
    from cifar_tune.evaluation.kept_models import load_model_of_trial

    return load_model_of_trial(locate(storage), trial)


# --- parts ---------------------------------------------------------------------------------------


def _read_settings(settings: RunSettings) -> tuple[MachineOptions, Run]:
    if "precision" in settings:
        raise TypeError("unexpected keyword argument 'precision'")  # it is that of the study
    own = ("timeout", "workers", "callbacks")
    machine: Any = {key: value for key, value in settings.items() if key not in own}
    options = read_machine(settings.get("timeout"), settings.get("workers"), machine)
    return options, make_run(settings.get("callbacks", ()))


def _check_done(outcome: StudyOutcome, record: BestRecord) -> None:
    """Raise what a run that did not do all ends with.

    Raises:
        KeyboardInterrupt: It was interrupted.
        TrialFailedError: A trial failed.
        UnfinishedError: Trials are left.
    """
    if outcome.interrupted:
        raise KeyboardInterrupt
    failed = [trial for trial in outcome.trials if trial.name and trial.has_failed]
    if outcome.failed:
        last = f": {failed[-1].label}: {failed[-1].failure_message}" if failed else ""
        raise TrialFailedError(f"{record.spec.study_name}: a trial failed{last}")
    if outcome.left.trials:
        left = format_count(outcome.left.trials, "trial")
        reason = f": {outcome.why_left}" if outcome.why_left else ""
        raise UnfinishedError(
            f"{record.spec.study_name}: {left} left{reason}; the same call goes on with them"
        )
