"""The command line: every command parses, calls one function and prints.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cifar_tune import __version__
from cifar_tune.cli.best import best, predict
from cifar_tune.cli.dashboard import dashboard, queue, serve
from cifar_tune.cli.data import data, weights
from cifar_tune.cli.options import options
from cifar_tune.cli.share import study_export, study_import
from cifar_tune.errors import CifarTuneError
from cifar_tune.storage.passwords import mask_passwords

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed work, 2 bad input, 130 interrupted."""
    try:
        code = app.main(arguments, prog_name="cifar-tune", standalone_mode=False)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(mask_passwords(said.getvalue()), err=True, nl=False)  # it quotes what was typed
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        code = INTERRUPTED
    except CifarTuneError as error:
        for line in mask_passwords(str(error)).splitlines():
            click.echo(f"error: {line}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, e.g. `| head`; leave without a second complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    if code == INTERRUPTED and arguments is None:
        _leave_at_once()
    sys.exit(code or 0)


def _leave_at_once() -> None:
    """Whoever interrupts a command waits for it, and to take PyTorch apart takes seconds."""
    with suppress(OSError, ValueError):  # the reader of our output may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: cifar-tune study run dropout",
)
@click.version_option(__version__, prog_name="cifar-tune")
def app() -> None:
    """Hyperparameter studies of ResNet-18 on CIFAR-10 that stand up to a reader."""


app.add_command(best)
app.add_command(data)
app.add_command(weights)
app.add_command(predict)
app.add_command(dashboard)
app.add_command(serve)


# --- studies ------------------------------------------------------------------------------------


@app.group(epilog="Example: cifar-tune study run dropout")
def study() -> None:
    """List, show, plan and run studies, and queue trials."""


@study.command("list", epilog="Example: cifar-tune study list")
@options("storage", "json")
def study_list(storage: str | None, as_json: bool) -> None:
    """List study files: those in ./studies, then those that come with the package."""
    from cifar_tune.cli import study as study_commands

    study_commands.list_studies(storage, as_json=as_json)


@study.command("show", epilog="Example: cifar-tune study show dropout --profile quick")
@click.argument("name")
@options("profile", "epochs", "set", "storage", "json")
def study_show(name: str, **given: Any) -> None:
    """Show a study file and what the storage holds of it.

    NAME is the name of a study file or its path. With --epochs or --set, only the study of its
    own that they name is shown.
    """
    from cifar_tune.cli import study as study_commands

    study_commands.show_study(name, **given)


@study.command("plan", epilog="Example: cifar-tune study plan dropout --profile quick --trials 20")
@click.argument("name")
@options(
    "profile",
    "trials",
    "seeds",
    "only",
    "epochs",
    "set",
    "seed",
    "device",
    "workers",
    "per-gpu",
    "precision",
    "slots",
    "storage",
    "data-dir",
    "json",
)
def study_plan(name: str, **given: Any) -> None:
    """Measure this machine for a few seconds and say what a run would do and how long it takes.

    NAME is the name of a study file or its path.
    """
    from cifar_tune.cli import execution
    from cifar_tune.cli import study as study_commands

    study_commands.plan_study(name, execution.StudyOptions(**given))


@study.command("run", epilog="Example: cifar-tune study run dropout --profile quick --trials 10")
@click.argument("name")
@options(
    "profile",
    "trials",
    "seeds",
    "only",
    "epochs",
    "set",
    "seed",
    "device",
    "workers",
    "per-gpu",
    "precision",
    "slots",
    "storage",
    "data-dir",
    "json",
    "timeout",
)
def study_run(name: str, **given: Any) -> None:
    """Run what is left of a study: its named trials first, then its search.

    NAME is the name of a study file or its path. Run again to continue, also after a crash; Ctrl-C
    stops cleanly.
    """
    from cifar_tune.cli import execution
    from cifar_tune.cli import study as study_commands

    sys.exit(study_commands.run_study(name, execution.StudyOptions(**given)))


study.add_command(queue)
study.add_command(study_export)
study.add_command(study_import)


# --- trials and test images ---------------------------------------------------------------------


@app.group(epilog="Example: cifar-tune trial test transfer transfer/scratch/seed=1")
def trial() -> None:
    """What single trials are made of, and what they are worth."""


@trial.command("test", epilog="Example: cifar-tune trial test transfer transfer/scratch/seed=1")
@click.argument("name")
@click.argument("trial_name", metavar="[TRIAL]", required=False)
@options("profile", "epochs", "set", "device", "storage", "data-dir", "json")
def trial_test(name: str, trial_name: str | None, **given: Any) -> None:
    """Evaluate a finished trial, whose weights were kept, on the test images.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name; without it,
    every named trial that was not tested yet. Every such read is written to a ledger before the
    figure is shown: cifar-tune test-reads.
    """
    from cifar_tune.cli import trial as trial_commands

    trial_commands.test_trials(name, trial_name, **given)


@trial.command("show", epilog="Example: cifar-tune trial show dropout 3")
@click.argument("name")
@click.argument("trial_name", metavar="TRIAL")
@options("profile", "epochs", "set", "storage", "json")
def trial_show(name: str, trial_name: str, **given: Any) -> None:
    """Show everything that made a trial: configuration, versions, digests, epochs.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name.
    """
    from cifar_tune.cli.commands import trial_show

    trial_show.show_trial(name, trial_name, **given)


@trial.command("rerun", epilog="Example: cifar-tune trial rerun dropout 3")
@click.argument("name")
@click.argument("trial_name", metavar="TRIAL")
@options("profile", "epochs", "set", "device", "storage", "data-dir", "json")
def trial_rerun(name: str, trial_name: str, **given: Any) -> None:
    """Train a trial again and say whether it came out the same.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name. On the same
    kind of processor with the same versions that is bit for bit, elsewhere within the spread over
    seeds; what differs is named. Nothing is stored.
    """
    from cifar_tune.cli.commands import trial_show

    sys.exit(trial_show.rerun_trial(name, trial_name, **given))


@trial.command("drop", epilog="Example: cifar-tune trial drop dropout dropout/p=0.3/seed=2")
@click.argument("name")
@click.argument("trial_name", metavar="[TRIAL]", required=False)
@options("profile", "epochs", "set", "storage", "json")
def trial_drop(name: str, trial_name: str | None, **given: Any) -> None:
    """End a trial that a stopped run has left, as it is.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name; without it,
    all that was left of the study, its confirmations and re-runs. What is dropped stays in the
    study as a failed trial that says so, and its checkpoints are removed. Nothing goes on with it:
    a run that is to have that named trial, or one more sampled trial, begins a new one.
    """
    from cifar_tune.cli import trial as trial_commands

    trial_commands.drop_trials(name, trial_name, **given)


@app.command("test-reads", epilog="Example: cifar-tune test-reads")
@options("storage", "json")
def test_reads(storage: str | None, as_json: bool) -> None:
    """List every time that the test images were read: when, for which trial, what came out."""
    from cifar_tune.cli import trial as trial_commands

    trial_commands.show_test_reads(storage, as_json=as_json)


# --- reports ------------------------------------------------------------------------------------


@app.command("report", epilog="Example: cifar-tune report dropout")
@click.argument("name")
@options("profile", "epochs", "set", "storage", "data-dir", "json")
@click.option("--csv", "as_csv", is_flag=True, help="Print the same numbers as CSV, one a line.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the file; by default beside the database, in reports/, and a document "
    "beside its template.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write each figure as a static file too; needs cifar-tune[figures] and Chrome.",
)
@click.option(
    "--figure-format",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Of the files of --figures.",
)
@click.option(
    "--check",
    is_flag=True,
    help="A document: write nothing, and end with 1 if it is not what the storage makes of it.",
)
@click.option(
    "--study", metavar="NAME", help="activations: the study; by default one with weights."
)
@click.option("--trial", metavar="TRIAL", help="activations: its number or full name.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="INDEX|PATH",
    help="activations: a test image or a file; by default a ship and a cat. May be repeated.",
)
@click.option(
    "--layer", "layers", multiple=True, metavar="LAYER", help="activations: one layer more."
)
def report(name: str, **given: Any) -> None:
    """Write what the storage holds of a study as one HTML file that needs no network.

    NAME is the name of a study file or its path, or activations: feature maps of a trained trial.
    Claims that the study file makes are judged. With --json or --csv, the numbers are printed
    instead. Or NAME is a document of your own, a Jinja2 template such as results.md.j2, in which
    stored studies fill in numbers, tables and figures.
    """
    from cifar_tune.cli import report as report_commands

    report_commands.report(name, report_commands.ReportOptions(**given))


@app.command("calibrate", epilog="Example: cifar-tune calibrate --rounds 200")
@click.option(
    "--rounds",
    type=click.IntRange(min=20),
    default=1000,
    show_default=True,
    help="Simulated studies for each figure.",
)
@options("json")
def calibrate(rounds: int, as_json: bool) -> None:
    """Simulate studies whose truth is known and print how often intervals and verdicts are right.

    Ends with 1 if one of the figures is not what it should be.
    """
    from cifar_tune.cli.commands import calibrate as calibrate_commands

    sys.exit(calibrate_commands.calibrate(rounds, as_json=as_json))


# --- the machine ------------------------------------------------------------------------------


@app.command("bench", epilog="Example: cifar-tune bench --only scratch --rounds 5")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Epochs of each case, and whole studies.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="CASE",
    help="Only this case: scratch, finetune, layer1-frozen, all-frozen, augmented-224, at-once or "
    "study. May be repeated.",
)
@options("device", "json")
def bench(rounds: int, only: tuple[str, ...], device: str | None, as_json: bool) -> None:
    """Time the plain torchvision loop, a tuned one and ours, in turn, on this machine.

    The plain one is as the course assignment trained: DataLoader, PIL transforms, Adam, fp32. The
    tuned one has loader workers, channels-last memory and torch.compile besides. Last, a whole
    study against plain Optuna and the plain loop. All of it takes about an hour on two cores.
    """
    from cifar_tune.cli import bench as bench_commands

    bench_commands.bench(rounds, device, only, as_json=as_json)


@app.command("overhead", epilog="Example: cifar-tune overhead --finished 5000")
@click.option(
    "--finished",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Finished trials that the study has.",
)
@click.option(
    "--trials", type=click.IntRange(min=4), default=30, show_default=True, help="To be measured."
)
@options("json")
def overhead(finished: int, trials: int, as_json: bool) -> None:
    """Measure what the runner itself costs: asking, recording, pruning, telling.

    A temporary SQLite database is filled with finished trials, and a study is run on it whose
    workers train nothing.
    """
    from cifar_tune.cli.commands import overhead as overhead_commands

    overhead_commands.overhead(finished, trials, as_json=as_json)
