"""Study files, and the Optuna studies that are made from them."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

from cifar_tune import paths
from cifar_tune.config import study_file
from cifar_tune.config.params import MOST_SEED
from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import InputError
from cifar_tune.storage.location import StorageLocation, explain_errors, locate_storage
from cifar_tune.storage.selector import StudySelector
from cifar_tune.wording import printable

if TYPE_CHECKING:
    import optuna

Storage = str | Path | None
"""A path of a SQLite file, a URL such as ``sqlite:///storage/cifar-tune.db`` or
``postgresql+psycopg://user@host/name``, or None for ``$CIFAR_TUNE_STORAGE``, else
``storage/cifar-tune.db``."""


def load_study_file(
    name_or_path: str | Path,
    *,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    only: Sequence[str] = (),
) -> StudySpec:
    """Read a study file, check all of it, and pick one of its profiles.

    Args:
        name_or_path: The name of a study file in ``./studies`` or of one that comes with the
            package, such as ``dropout``; or a path.
        profile: A profile of the file, such as ``quick``; None takes the one that suits the
            machine: ``assignment`` where there is a CUDA device and the full CIFAR-10, else
            ``quick``.
        overrides: Other values of keys of the protocol, such as ``{"epochs": 3}``. They make a
            study of their own, with a name that says so.
        seeds: Replicates of each named trial; None takes the profile's.
        only: Names of the named trials to keep; then nothing is sampled unless ``n_trials`` of
            ``run_study`` says so. Empty keeps all.

    Returns:
        The study: all that defines one Optuna study.

    Raises:
        StudyFileError: There is no such file, or it is wrong, or an override is; the message has
            one line for each fault.
        InputError: ``seeds`` is no whole number above 0.

    Example:
        >>> spec = ct.load_study_file("dropout", profile="quick", overrides={"epochs": 3}, seeds=2)
        >>> spec.study_name
        'dropout:quick'
    """
    seeds = check_whole("seeds", seeds, 1)
    loaded = study_file.load_study_file(str(name_or_path))
    if profile is None:
        from cifar_tune.search.preparation import choose_profile
        from cifar_tune.training.device import choose_device

        root = paths.data_root()
        profile, _ = choose_profile(loaded, overrides or {}, only, choose_device(), root)
    return study_file.resolve(loaded, profile, overrides, seeds, only)


def list_study_files() -> dict[str, Path]:
    """List the study files in ``./studies`` and those that come with the package.

    Returns:
        The path of each file by its name. A file in ``./studies`` hides one of the same name that
        comes with the package.

    Example:
        >>> "dropout" in ct.list_study_files()
        True
    """
    return study_file.find_study_files()


def create_study(
    spec: StudySpec | str,
    *,
    storage: Storage = None,
    seed: int | None = None,
    load_if_exists: bool = True,
) -> optuna.Study:
    """Create the Optuna study of a study file, or open the stored one.

    Its sampler and its pruner are those that the study file states. The sampler gives each trial a
    seed of its own, so ``study.optimize`` draws what ``run_study`` would draw. Named trials are not
    enqueued; ``run_study`` trains them.

    Args:
        spec: The study, from ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; as ``--storage``.
        seed: The seed of the study, from which those of its trials derive; None takes the stored
            one, else 0.
        load_if_exists: Whether a stored study is opened; False makes that an error.

    Returns:
        The study, of which samplers, pruners and ``study.trials`` see all trials but foreign ones,
        which other programs have added.

    Raises:
        StudyMismatchError: The stored study was made with other settings, or another seed.
        InputError: The study is stored, and ``load_if_exists`` is False.
        StorageError: The database cannot be opened or written.

    Example:
        >>> spec = ct.load_study_file("dropout", profile="quick")
        >>> study = ct.create_study(spec, storage="sqlite:///storage/cifar-tune.db")
        >>> study.optimize(ct.Objective(spec), n_trials=5)
    """
    from cifar_tune.search.plain_study import create_study as create

    seed = check_whole("seed", seed, 0)
    return create(read_spec(spec), locate(storage), seed, load_if_exists=load_if_exists)


def load_study(study_name: str, *, storage: Storage = None) -> optuna.Study:
    """Open a stored Optuna study to read it, under its full name.

    Args:
        study_name: The name as ``study list`` shows it, such as ``dropout:quick`` or
            ``dropout:quick:epochs=3``; of a confirmation ``dropout/confirm:quick``.
        storage: A path, a database URL, or None for the default; as ``--storage``.

    Returns:
        The study without foreign trials, with Optuna's default sampler and pruner. To go on with
        its search, use ``create_study``.

    Raises:
        InputError: The study is not stored there.
        StorageError: The database cannot be read.

    Example:
        >>> study = ct.load_study("dropout:quick")
        >>> study.best_value
    """
    from cifar_tune.storage.studies import open_study

    location = locate(storage)
    with explain_errors(location):
        return open_study(location, study_name)[1]


# --- for the other modules of this room ---------------------------------------------------------


def check_whole(name: str, value: SupportsIndex | None, least: int) -> int | None:
    """Return a whole number that was given, or None.

    Raises:
        InputError: It is none, or less than ``least``.
    """
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= MOST_SEED:
        shown = reprlib.repr(value)
        raise InputError(f"{name} = {shown}: expected a whole number from {least} to {MOST_SEED}")
    return number


def locate(storage: Storage) -> StorageLocation:
    """Return where studies are stored, as ``--storage`` says it.

    Raises:
        InputError: It is neither text nor a path.
        StorageError: As of ``locate_storage``.
    """
    if storage is not None and not isinstance(storage, str | Path):
        shown = printable(reprlib.repr(storage))
        raise InputError(f"storage = {shown}: expected a path or a database URL")
    return locate_storage(None if storage is None else str(storage))


def read_spec(study: StudySpec | str) -> StudySpec:
    """Return a study that is about to be trained: a specification, or the name of a study file."""
    return study if isinstance(study, StudySpec) else load_study_file(study)


def find_stored(study: StudySpec | str, storage: Storage) -> tuple[StudySpec, StorageLocation]:
    """Return a study that is stored, and where.

    Raises:
        InputError: None of a study file of that name is stored, or several are.
    """
    if isinstance(study, StudySpec):
        return study, locate(storage)
    return StudySelector(study, storage=None if storage is None else str(storage)).find()
