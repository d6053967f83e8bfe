"""Options have defaults from cifar-tune.toml or a table of pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from command_line import Cli
from made_up import MadeUp

from cifar_tune.cli import help as command_help
from cifar_tune.cli import options
from cifar_tune.cli.app import app
from cifar_tune.cli.defaults import _PARAMETERS
from cifar_tune.config.defaults import Defaults

KEYS = list(Defaults.model_fields)


def write(text: str, name: str = "cifar-tune.toml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("test-reads", "--json")
    assert cli(*where).record["storage"] == "storage/cifar-tune.db"
    write('storage = "file.db"')
    assert cli(*where).record["storage"] == "file.db"
    monkeypatch.setenv("CIFAR_TUNE_STORAGE", "variable.db")
    assert cli(*where).record["storage"] == "variable.db"
    assert cli(*where, "--storage", "given.db").record["storage"] == "given.db"


def test_each_key_is_a_parameter_of_some_command() -> None:
    shared = click.Command("all")
    for name in options._SHARED:
        options.options(name)(shared)  # type: ignore[arg-type]
    parameters = {param.name for param in [*shared.params, *_all_parameters(app)]}
    assert {_PARAMETERS.get(key, key) for key in KEYS} <= parameters


def _all_parameters(group: click.Group) -> list[click.Parameter]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert isinstance(command, command_help.Command | click.Group)
        found += _all_parameters(command) if isinstance(command, click.Group) else command.params
    return found


def test_a_table_of_pyproject_counts_where_there_is_no_file_of_our_own(cli: Cli) -> None:
    where = ("test-reads", "--json")
    write("[tool.other]\nx = 1\n[tool.cifar-tune]\nstorage = 'project.db'", "pyproject.toml")
    assert cli(*where).record["storage"] == "project.db"
    write("[tool]\ncifar-tune = { storage = 'other.db' }", "pyproject.toml")
    assert cli(*where).record["storage"] == "other.db"
    write("[tool]\ncifar-tune = 3", "pyproject.toml")
    assert "pyproject.toml: tool.cifar-tune: is 3, expected a table\n" in cli(*where).err
    write("")
    assert cli(*where).record["storage"] == "storage/cifar-tune.db"
    Path("cifar-tune.toml").unlink()
    write("what another program = is to read [", "pyproject.toml")
    assert cli(*where).code == 0
    write("[tool.cifar-tune\n", "pyproject.toml")
    assert "pyproject.toml: is not TOML" in cli(*where).err


def test_each_fault_is_one_line_with_file_key_value_and_what_was_expected(cli: Cli) -> None:
    for text, said in (
        ("workers = 0", "workers = 0: expected a number, auto, inline or ray[:ADDRESS]"),
        ("workers = 'rey'", "workers = 'rey': expected a number, auto, inline or"),
        ("device = 'tpu'", "device = 'tpu': expected auto, cpu, mps or cuda:N"),
        ("precision = 'fp16'", "precision = 'fp16': expected auto, fp32 or bf16"),
        ("quiet = 'yes'", "quiet = 'yes': expected true or false"),
        ("slots = 17", "slots = 17: expected a number of at most 16"),
        ("storage = ''", "storage = '': expected text on one line"),
        ("profil = 'quick'", "profil: is not a known key; expected one of storage, data_dir"),
        ("profil = 'quick'", "did you mean profile?"),
        (
            "data_dir = '~no-user/x'",
            "data_dir = ~no-user/x: expected a folder; there is no",
        ),
        ("workers = ", "is not TOML"),
    ):
        write(text)
        answer = cli("study", "list")
        assert (answer.code, answer.out) == (2, "")
        (line,) = answer.err.splitlines()
        assert line.startswith("error: cifar-tune.toml: ")
        assert said in line
        assert cli("study", "list", "--help").code == 0
    write("slots = 0\nport = -1", "cifar-tune.toml")
    assert len(cli("study", "list").err.splitlines()) == 2
    Path("cifar-tune.toml").write_bytes(b"\xff")
    assert "cifar-tune.toml: is not UTF-8 text" in cli("study", "list").err


def test_a_value_that_a_command_refuses_is_said_of_the_file(cli: Cli) -> None:
    write("profile = 'slow'\nstorage = 'x.db'")
    assert cli("study", "show", "dropout").err.startswith(
        "error: cifar-tune.toml: profile = slow: expected one of the profiles of "
    )
    Path("cifar-tune.toml").write_text("device = 'cuda:99'")
    assert "error: cifar-tune.toml: device = cuda:99: " in cli("study", "plan", "dropout").err
    Path("cifar-tune.toml").unlink()
    given = cli("study", "show", "dropout", "--profile", "fast").err
    assert given.startswith("error: --profile fast: expected one of the profiles of ")


def test_the_profile_of_a_study_s_name_wins(cli: Cli) -> None:
    write("profile = 'assignment'")
    shown = cli("study", "show", "dropout", "--json").record
    assert list(shown["profiles"]) == ["assignment"]
    assert list(cli("study", "show", "dropout:quick", "--json").record["profiles"]) == ["quick"]
    given = cli("study", "show", "dropout:quick", "--profile", "assignment")
    assert "--profile assignment: expected quick" in given.err


def test_a_profile_does_not_keep_a_document_from_being_rendered(cli: Cli) -> None:
    MadeUp(Path("storage/cifar-tune.db").absolute(), "final", "quick").add_sampled(0)
    write("profile = 'quick'")
    Path("page.md.j2").write_text("text")
    assert cli("report", "page.md.j2").code == 0
    assert Path("page.md").read_text() == "text"
    assert "--profile: belongs to" in cli("report", "page.md.j2", "--profile", "quick").err


def test_a_run_and_a_plan_say_which_options_are_from_the_file(cli: Cli) -> None:
    plan = ("study", "plan", "transfer", "--profile", "quick", "--workers", "rey")
    assert "defaults" not in cli(*plan).out
    write("workers = 'inline'\nprofile = 'assignment'\nstorage = 'postgresql://a:secret@h/d'")
    Path("cifar-tune.toml").write_text("storage = 's.db'\nprofile = 'assignment'\nhost = 'h'")
    out = cli("study", "plan", "transfer", "--profile", "quick", "--workers", "rey").out
    assert "defaults   cifar-tune.toml: storage = s.db\n" in out
    Path("cifar-tune.toml").write_text("storage = 'postgresql://a:secret@127.0.0.1:1/d'")
    answer = cli("study", "plan", "transfer", "--profile", "quick", "--workers", "rey")
    assert "secret" not in answer.out + answer.err
    assert "postgresql://a:***@127.0.0.1:1/d" in answer.out


def test_quiet_is_taken_back_on_the_command_line() -> None:
    command = app.get_command(click.Context(app), "study")
    assert isinstance(command, click.Group)
    run = command.commands["run"]
    context = run.make_context("run", ["dropout", "--no-quiet"], default_map={"is_quiet": True})
    assert context.params["is_quiet"] is False
    context = run.make_context("run", ["dropout"], default_map={"is_quiet": True})
    assert context.params["is_quiet"] is True
