"""What the page shows of studies and their search spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from cifar_tune.config.params import describe_range
from cifar_tune.config.study_file import StudySpec, find_study_files, load_study_file, resolve
from cifar_tune.errors import StudyFileError
from cifar_tune.storage.studies import StudyCounts
from cifar_tune.storage.study_requests import Request


@dataclass(frozen=True)
class StudyRow:
    """A study that can be run.

    Attributes:
        searches: Whether there is anything to queue a trial of.
        stored: What is stored of it; None where nothing is.
    """

    name: str
    title: str
    searches: bool
    stored: StudyCounts | None


@dataclass(frozen=True)
class Field:
    """An input of the form.

    Attributes:
        placeholder: What becomes of it where it is left empty.
        text: What was typed.
        fault: What is wrong with it; empty if nothing is.
    """

    name: str
    hint: str
    placeholder: str
    text: str
    fault: str


@dataclass(frozen=True)
class Form:
    """The form by which a trial of a study is queued."""

    study_name: str
    title: str
    fields: tuple[Field, ...]
    stored: StudyCounts | None


def study_url(study_name: str) -> str:
    """Return where trials of a study are queued."""
    return f"/queue/{quote(study_name)}"


def dashboard_url(stored: StudyCounts, request: Request | None = None) -> str:
    """Return where optuna-dashboard shows a study, or the trial of a request."""
    url = f"/dashboard/studies/{stored.study_id}"
    return url if request is None else f"{url}/trials?numbers={request.trial}"


def find_spec(study_name: str, stored: Mapping[str, StudyCounts]) -> StudySpec:
    """Return the study of that name, stored or not.

    Raises:
        StudyFileError: No study file makes such a study.
    """
    name, _, profile = study_name.partition(":")
    if name not in find_study_files():  # a browser names no file of this machine
        raise StudyFileError(f"{study_name}: there is no study file of that name here")
    known = stored.get(study_name)
    if known is not None:
        spec = resolve(load_study_file(name), known.profile, known.overrides)
    else:
        spec = resolve(load_study_file(name), profile)
    if spec.study_name != study_name:
        raise StudyFileError(f"{study_name}: its study file makes {spec.study_name} now")
    return spec


def list_studies(stored: Mapping[str, StudyCounts]) -> list[StudyRow]:
    """Return the studies of all study files; those that are stored come first."""
    rows = []
    for name in sorted(find_study_files()):
        try:
            loaded = load_study_file(name)
        except StudyFileError:
            continue  # `cifar-tune study list` says what is wrong with it
        study_names = dict.fromkeys(f"{name}:{profile}" for profile in loaded.content.profiles)
        with_overrides = dict.fromkeys(key for key in stored if key.startswith(f"{name}:"))
        searches = bool(loaded.content.space.ranges())
        rows += [
            StudyRow(study_name, loaded.content.title, searches, stored.get(study_name))
            for study_name in study_names | with_overrides
        ]
    return sorted(rows, key=lambda row: row.stored is None)


def make_form(
    spec: StudySpec,
    stored: StudyCounts | None,
    typed: Mapping[str, str],
    faults: Mapping[str, str],
) -> Form:
    """Return the form of a study's search space."""
    sampled = "drawn by the sampler"
    hints = {key: (describe_range(values), sampled) for key, values in spec.space.ranges().items()}
    hints["seed"] = ("a whole number from 0 on", "derived")
    fields = tuple(
        Field(key, *hint, text=typed.get(key, ""), fault=faults.get(key, ""))
        for key, hint in hints.items()
    )
    return Form(spec.study_name, spec.title, fields, stored)
