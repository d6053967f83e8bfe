"""What the page shows, from the database, the study files and a service in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from cifar_tune.config.params import describe_range
from cifar_tune.config.study_file import StudySpec, find_study_files, load_study_file, resolve
from cifar_tune.config.wording import format_params
from cifar_tune.errors import StudyFileError
from cifar_tune.search.live import LiveState
from cifar_tune.storage.queue import Request, TrialQueue
from cifar_tune.storage.studies import StudyCounts

STUDIES_URL = "/dashboard/studies"
RECENT = 8
"""Requests that are over which are still shown."""


@dataclass(frozen=True)
class StudyRow:
    """A study that can be run.

    Attributes:
        url: of the page on which trials of it are queued.
        searches: whether there is anything to queue.
        counts: trials by state; empty of one that is not stored.
        dashboard_url: of its page in optuna-dashboard; None of one that is not stored.
    """

    name: str
    title: str
    url: str
    searches: bool
    counts: Mapping[str, int]
    dashboard_url: str | None


@dataclass(frozen=True)
class RequestRow:
    """A request in words."""

    id: int
    study_name: str
    url: str
    what: str
    by: str
    asked: str
    state: str
    outcome: str
    trial_url: str | None


@dataclass(frozen=True)
class Field:
    """An input of the form.

    Attributes:
        placeholder: what becomes of it if it is left empty.
        text: what was typed.
        fault: what is wrong with it; empty if nothing is.
    """

    name: str
    label: str
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
    dashboard_url: str | None


@dataclass(frozen=True)
class Now:
    """What is going on.

    Attributes:
        live: None where no service is in this process.
        is_stopped: of the service.
    """

    live: LiveState | None
    is_stopped: bool
    is_read_only: bool
    waiting: tuple[RequestRow, ...]
    recent: tuple[RequestRow, ...] = field(default=())


def study_url(study_name: str) -> str:
    """Where trials of a study are queued."""
    return f"/queue/{quote(study_name)}"


def find_spec(study_name: str, counts: list[StudyCounts]) -> StudySpec:
    """The study of that name, stored or not.

    Raises:
        StudyFileError: no study file makes such a study.
    """
    name, _, profile = study_name.partition(":")
    if name not in find_study_files():  # a browser names no file of this machine
        raise StudyFileError(f"{study_name}: there is no study file of that name here")
    stored = next((one for one in counts if one.study_name == study_name), None)
    if stored is not None:
        spec = resolve(load_study_file(name), stored.profile, stored.overrides)
    else:
        spec = resolve(load_study_file(name), profile)
    if spec.study_name != study_name:
        raise StudyFileError(f"{study_name}: its study file makes {spec.study_name} now")
    return spec


def list_studies(counts: list[StudyCounts]) -> list[StudyRow]:
    """The studies of all study files; those that are stored, also with overrides, come first."""
    stored = {one.study_name: one for one in counts}
    rows = []
    for name in sorted(find_study_files()):
        try:
            loaded = load_study_file(name)
        except StudyFileError:
            continue  # `cifar-tune study list` says what is wrong with it
        made = [f"{name}:{profile}" for profile in loaded.content.profiles]
        made += [one for one in stored if one.startswith(f"{name}:") and one not in made]
        searches = bool(loaded.content.space.ranges())
        for study_name in made:
            found = stored.get(study_name)
            rows.append(
                StudyRow(
                    study_name,
                    loaded.content.title,
                    study_url(study_name),
                    searches,
                    found.states if found is not None else {},
                    _dashboard_url(found),
                )
            )
    return sorted(rows, key=lambda row: row.dashboard_url is None)


def make_form(
    spec: StudySpec,
    counts: list[StudyCounts],
    typed: Mapping[str, str],
    faults: Mapping[str, str],
) -> Form:
    """The form of a study's search space."""
    found = next((one for one in counts if one.study_name == spec.study_name), None)
    drawn = "drawn by the sampler"
    hints = {key: (describe_range(values), drawn) for key, values in spec.space.ranges().items()}
    hints["seed"] = ("a whole number from 0 on", "derived")
    fields = tuple(
        Field(key, key.replace("_", " "), *hint, typed.get(key, ""), faults.get(key, ""))
        for key, hint in hints.items()
    )
    return Form(spec.study_name, spec.title, fields, _dashboard_url(found))


def describe_now(
    queue: TrialQueue,
    counts: list[StudyCounts],
    live: LiveState | None,
    *,
    is_stopped: bool,
    is_read_only: bool,
) -> Now:
    """What is going on, for the part of the page that renews itself."""
    ids = {one.study_name: one.study_id for one in counts}
    over = queue.list_requests(("ended", "cancelled", "refused"))[-RECENT:]
    return Now(
        live,
        is_stopped,
        is_read_only,
        tuple(_row(request, ids) for request in queue.list_requests()),
        tuple(_row(request, ids) for request in reversed(over)),
    )


def _row(request: Request, ids: Mapping[str, int]) -> RequestRow:
    if request.params is None:
        what = "all that is left of the study"
    else:
        given = format_params(request.params) or "all values drawn by the sampler"
        what = given + (f", seed {request.seed}" if request.seed is not None else "")
    study_id = ids.get(request.study_name)
    trial_url = None
    if request.trial is not None and study_id is not None:
        trial_url = f"{STUDIES_URL}/{study_id}/trials?numbers={request.trial}"
    asked = request.asked[:16].replace("T", " ") + " UTC"
    trial = "" if request.trial is None else f"trial {request.trial}"
    url = study_url(request.study_name)
    return RequestRow(
        request.id,
        request.study_name,
        url,
        what,
        request.by,
        asked,
        request.state,
        request.reason or trial,
        trial_url,
    )


def _dashboard_url(found: StudyCounts | None) -> str | None:
    return None if found is None else f"{STUDIES_URL}/{found.study_id}"
