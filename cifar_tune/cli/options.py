"""Options that several commands share, and how commands receive them as records."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_tune import paths
from cifar_tune.cli.defaults import is_given
from cifar_tune.errors import InputError

if TYPE_CHECKING:
    from cifar_tune.config.trial import TrainOn
    from cifar_tune.storage.selector import StudySelector

if TYPE_CHECKING:
    _NumberType = click.ParamType[int]
else:
    _NumberType = click.ParamType  # which earlier versions do not let be subscripted

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

STUDY = ("profile", "epochs", "set")
"""Options that say which study is meant, beside ``storage``."""
WORKERS = ("device", "workers", "per-gpu", "slots")
"""Options that say what trials are trained on."""


@dataclass(frozen=True)
class ChosenOptions:
    """Which configuration is meant and what it is trained on, as given on the command line."""

    trial: int | None
    trial_name: str | None
    train_on: TrainOn = "train"

    def __post_init__(self) -> None:
        """Refuse two answers to one question."""
        if self.trial is not None and self.trial_name is not None:
            raise InputError("--trial and --name: expected one of the two")


# --- decorators ---------------------------------------------------------------------------------


def options(*names: str) -> Decorator:
    """Attach options that several commands share, in the order of ``names``."""

    def attach(command: Command) -> Command:
        for name in reversed(names):
            command = _SHARED[name](command)
        return command

    return attach


def gather(argument: str, record: type) -> Decorator:
    """Hand the options that are fields of a dataclass to a command as its argument ``argument``."""
    fields = {field.name for field in dataclasses.fields(record)}

    def attach(command: Command) -> Command:
        @functools.wraps(command)
        def run(**values: Any) -> Any:
            gathered = {name: values.pop(name) for name in fields & values.keys()}
            return command(**{argument: record(**gathered)}, **values)

        return run

    return attach


def study_options(*names: str) -> Decorator:
    """Attach the argument NAME and shared options, in the order of ``names``.

    The command receives those that say which study is meant as one ``StudySelector``, its argument
    ``study``; ``profile``, ``epochs``, ``set`` and ``storage`` must be among ``names``.
    """

    def attach(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            name: str,
            profile: str | None,
            epochs: int | None,
            settings: tuple[str, ...],
            storage: str | None,
            **values: Any,
        ) -> Any:
            more = () if epochs is None else (f"epochs={epochs}",)
            study = select_study(name, profile, (*settings, *more), storage)
            return command(study=study, **values)

        named = click.argument("name", shell_complete=completes("studies"))
        return named(options(*names)(run))

    return attach


def trial_argument(name: str = "trial_name", *, required: bool = True) -> Decorator:
    """Return the argument TRIAL: the number or the name of a stored trial."""
    metavar = "TRIAL" if required else "[TRIAL]"
    names = completes("trials")
    return click.argument(name, metavar=metavar, required=required, shell_complete=names)


def completes(kind: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return what completes a parameter in a shell; its module is imported only then."""

    def find(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from cifar_tune.cli.completions import complete

        return complete(kind)(ctx, param, incomplete)

    return find


def select_study(
    name: str, profile: str | None, settings: Sequence[str], storage: str | None
) -> StudySelector:
    """Return which study is meant, by its study file or by its own name, as in ``dropout:quick``.

    Raises:
        InputError: The name has another profile than ``profile``.
        StudyFileError: One of ``settings`` is no ``key=value``.
    """
    # Imported here, since they load pydantic.
    from cifar_tune.config.names import split_study_name
    from cifar_tune.config.study_file import parse_override
    from cifar_tune.storage.selector import StudySelector

    file, its_profile, its_settings = split_study_name(name)
    if its_profile is not None and profile not in (None, its_profile) and is_given("profile"):
        raise InputError(f"--profile {profile}: expected {its_profile}, as in {name}, or none")
    overrides = dict(map(parse_override, (*its_settings, *settings)))
    return StudySelector(file, its_profile or profile, overrides, storage)


class _TrialNumber(_NumberType):
    """The number of a trial, as tables show it or with a # before it."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from cifar_tune.config.names import read_number

        number = read_number(value)
        if number is None:
            self.fail(f"{value!r} is no number of a trial, such as 7 or #7.", param, ctx)
        return number


# --- the options --------------------------------------------------------------------------------


def _text(name: str, metavar: str, text: str, kind: str | None = None) -> Decorator:
    words = None if kind is None else completes(kind)
    return click.option(name, metavar=metavar, help=text, shell_complete=words)


def number_option(
    name: str, text: str, *, least: int = 1, default: int | None = None, metavar: str = "N"
) -> Decorator:
    """Return an option that is a whole number; its help says the default where there is one."""
    shown: dict[str, Any] = {"metavar": metavar}
    if default is not None:
        shown |= {"default": default, "show_default": True}
    return click.option(name, type=click.IntRange(min=least), help=text, **shown)


_SHARED: dict[str, Decorator] = {
    "profile": _text(
        "--profile", "NAME", "Profile of the study file; by default the machine's.", "profiles"
    ),
    "trials": number_option(
        "--trials",
        "Sample N trials more, instead of filling up to the number in the study file.",
        least=0,
    ),
    "seeds": number_option("--seeds", "Replicates of each named trial, by seed."),
    "only": click.option(
        "--only",
        multiple=True,
        metavar="NAME",
        shell_complete=completes("named trials"),
        help="Of the named trials run only this one; sample none unless --trials says so. May be "
        "repeated.",
    ),
    "epochs": click.option(
        "--epochs",
        type=int,
        metavar="N",
        help="Epochs of a trial, the same as --set epochs=N; makes a study of its own.",
    ),
    "set": click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=completes("settings"),
        help="Change a key of the protocol; makes a study of its own. May be repeated.",
    ),
    "seed": number_option(
        "--seed",
        "The study's seed, from which all others derive; 0 unless stored otherwise.",
        least=0,
    ),
    "device": _text(
        "--device", "NAME", "auto, cpu, mps, cuda or cuda:N.  [default: auto]", "devices"
    ),
    "workers": _text(
        "--workers",
        "N|ray[:ADDRESS]",
        "Trials at once: a number, auto, inline (in this process) or on a Ray cluster; else "
        "$CIFAR_TUNE_WORKERS.  [default: auto]",
        "workers",
    ),
    "per-gpu": number_option(
        "--per-gpu", "Worker processes on each GPU.  [default: 1]", metavar="K"
    ),
    "slots": click.option(
        "--slots",
        type=click.IntRange(1, 16),
        metavar="K",
        help="Trials at once in each worker process, on a GPU.  [default: found by measuring; 1 "
        "where --workers or --per-gpu is given]",
    ),
    "precision": _text(
        "--precision",
        "NAME",
        "auto, fp32 or bf16; auto takes bf16 where a check at a study's first run shows that it is "
        "faster and agrees. Else $CIFAR_TUNE_PRECISION.  [default: auto]",
        "precisions",
    ),
    "timeout": _text(
        "--timeout",
        "DURATION",
        "End after so long, such as 2h, 90min or 45s; no trial is begun that would not finish.",
    ),
    "storage": _text(
        "--storage",
        "PATH|URL",
        "Database; else $CIFAR_TUNE_STORAGE, else storage/cifar-tune.db.",
        "files",
    ),
    "data-dir": click.option(
        "--data-dir",
        "root",
        type=click.Path(path_type=Path),
        callback=lambda _context, _option, folder: paths.data_root(folder),
        metavar="FOLDER",
        help="Imported images and weights; else $CIFAR_TUNE_DATA, else the user's cache.",
    ),
    "host": click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        metavar="NAME",
        help="Address to listen on; one that other machines reach needs a token.",
    ),
    "port": click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        show_default=True,
        metavar="N",
        help="Port to listen on; 0 takes one that is free.",
    ),
    "token": click.option(
        "--token",
        envvar="CIFAR_TUNE_TOKEN",
        metavar="TOKEN",
        help="What a browser must show, 16 characters or more; else $CIFAR_TUNE_TOKEN, else, where "
        "other machines reach --host, one is made and shown once.",
    ),
    "read-only": click.option(
        "--read-only/--read-write",
        "is_read_only",
        default=None,
        help="Whether everything that changes or deletes is refused; by default where other "
        "machines reach --host.",
    ),
    "open": click.option("--open", "opens", is_flag=True, help="Open it in the browser."),
    "trial": click.option(
        "--trial", type=_TrialNumber(), metavar="NUMBER", help="This trial instead of the best."
    ),
    "named": click.option(
        "--name",
        "trial_name",
        metavar="NAMED",
        shell_complete=completes("named trials"),
        help="This named trial instead of the best.",
    ),
    "train-on": click.option(
        "--train-on",
        type=click.Choice(["train", "train+val"]),
        default="train",
        show_default=True,
        help="The training images, or the validation images too.",
    ),
    "log": click.option(
        "--log",
        type=click.Choice(["tensorboard"]),
        help="Also write each epoch to event files beside the storage; needs "
        "cifar-tune[tensorboard].",
    ),
    "quiet": click.option(
        "--quiet/--no-quiet", "is_quiet", help="Print the result and errors only."
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
    ),
}
