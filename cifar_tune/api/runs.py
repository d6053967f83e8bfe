"""The durable runner, as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from cifar_tune import paths
from cifar_tune.api.studies import Storage, check_whole, locate, read_spec
from cifar_tune.search.preparation import (
    MachineOptions,
    load_materials,
    prepare_spec,
    run_prepared,
    settle_precision,
)

if TYPE_CHECKING:
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.preparation import Prepared
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.search.trial_callbacks import TrialCallback


class MachineSettings(TypedDict, total=False):
    """What trials are trained on; what is left out is chosen.

    Attributes:
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
        per_gpu: Worker processes on each GPU.
        slots: Trials at once in each worker process, on a GPU.
        data_dir: The folder of imported images and weights.
    """

    device: str
    per_gpu: int
    slots: int
    data_dir: str | Path


class StudySettings(MachineSettings, total=False):
    """What the trials of a study are trained on.

    Attributes:
        precision: ``auto``, ``fp32`` or ``bf16``; a stored study keeps the one that it has.
    """

    precision: str


class RunSettings(MachineSettings, total=False):
    """How configurations are trained again.

    Attributes:
        timeout: Stop after this many seconds, or a duration such as ``2h``.
        workers: Trials at once: a number, ``auto``, ``inline`` or ``ray[:ADDRESS]``.
        callbacks: Called as trials begin, after each epoch, and as they end.
    """

    timeout: float | str | None
    workers: int | str | None
    callbacks: Sequence[TrialCallback]


def run_study(
    study: StudySpec | str,
    *,
    storage: Storage = None,
    n_trials: int | None = None,
    timeout: float | str | None = None,
    workers: int | str | None = None,
    seed: int | None = None,
    callbacks: Sequence[TrialCallback] = (),
    **machine: Unpack[StudySettings],
) -> StudyOutcome:
    """Run what is left of a study: paused trials, queued ones, named ones, then its search.

    It does what ``cifar-tune study run`` does. One process runs a study at a time. Trials run in
    worker processes; a trial whose worker dies is resumed from its last epoch. A second call goes
    on where the first one ended, also after a crash.

    The first Ctrl-C, or SIGTERM, lets the trials save their state, and the function returns with
    ``outcome.interrupted`` set; a second one raises KeyboardInterrupt at once. Signals are heard in
    the main thread only, and the handlers from before are put back.

    Args:
        study: The study, from ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; as ``--storage``.
        n_trials: Sample this many trials more; None fills up to the number in the study file.
        timeout: End after this many seconds, or a duration such as ``"2h"``; no trial is begun
            that would not finish.
        workers: Trials at once: a number, ``"auto"``, ``"inline"`` (in this process) or
            ``"ray[:ADDRESS]"``; None takes ``$CIFAR_TUNE_WORKERS``, else ``auto``.
        seed: The seed of the study; None takes the stored one, else 0.
        callbacks: Called in this process as trials begin, after each epoch, and as they end.
        **machine: ``device``, ``precision``, ``per_gpu``, ``slots`` and ``data_dir``, as the
            options of ``cifar-tune study run``.

    Returns:
        What the storage holds after the run; ``outcome.failed`` says whether work failed.

    Raises:
        InputError: Something cannot be done as asked; nothing was written.
        StudyMismatchError: The stored study was made with other settings.
        StudyBusyError: Another process runs the study.
        DataError: Images are missing.
        WeightsError: Pretrained weights are missing.
        StorageError: The database or a file cannot be written.
        TrialFailedError: Trials ended with errors, one after another.

    Example:
        >>> spec = ct.load_study_file("dropout", profile="quick")
        >>> outcome = ct.run_study(spec, n_trials=20, timeout="2h", workers=4)
        >>> outcome.best.val_accuracy
    """
    from cifar_tune.search.runner import RunOptions

    run = make_run(callbacks)
    n_trials, seed = check_whole("n_trials", n_trials, 0), check_whole("seed", seed, 0)
    options = read_machine(timeout, workers, machine)
    run_options = RunOptions(n_trials, options.seconds, seed=seed)
    prepared = prepare_spec(read_spec(study), locate(storage), options, n_trials)
    return run(prepared, run_options)


# --- for the other modules of this room ---------------------------------------------------------

Run = Callable[["Prepared", "RunOptions"], "StudyOutcome"]
"""Runs what is left of a prepared study, and shows what it does in one way or another."""


def make_run(callbacks: Sequence[TrialCallback]) -> Run:
    """Return what runs a prepared study, and shows it to callbacks only.

    Raises:
        InputError: One of them is no callback.
    """
    from cifar_tune.search.trial_callbacks import check_callbacks

    checked = check_callbacks(callbacks)

    def run(prepared: Prepared, options: RunOptions) -> StudyOutcome:
        from cifar_tune.dashboard.notes.annotator import StudyAnnotator
        from cifar_tune.search.trial_callbacks import CallbackObserver, LoggedNotes

        materials = load_materials(prepared, options)
        settled, _ = settle_precision(prepared)
        observer = CallbackObserver(settled.spec.study_name, checked, LoggedNotes())
        return run_prepared(settled, materials, observer, options, StudyAnnotator)

    return run


def read_machine(
    timeout: float | str | None, workers: int | str | None, settings: StudySettings
) -> MachineOptions:
    """Return what trials are trained on and until when, as the command line has it.

    Raises:
        TypeError: A setting is unknown.
    """
    unknown = sorted(settings.keys() - StudySettings.__annotations__.keys())
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    data_dir = settings.get("data_dir")
    return MachineOptions(
        device=settings.get("device"),
        workers=None if workers is None else str(workers),
        per_gpu=settings.get("per_gpu"),
        slots=settings.get("slots"),
        root=paths.data_root(None if data_dir is None else Path(data_dir)),
        precision=settings.get("precision"),
        timeout=f"{timeout:f}" if isinstance(timeout, int | float) else timeout,
    )
