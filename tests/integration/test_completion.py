"""Shells complete commands, studies, profiles, trials and hyperparameters."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from command_line import Cli
from made_up import MadeUp
from places import REPOSITORY

from cifar_tune.cli.app import app

RUN = ("study", "run", "dropout")


def complete(*words: str) -> list[str]:
    """What the last word may become, after the others."""
    shell = ShellComplete(app, {}, "cifar-tune", "_CIFAR_TUNE_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (("st",), ["study"]),
        (("test",), ["test-reads"]),
        (("study", "de"), ["delete"]),
        (("study", "run", "--prof"), ["--profile"]),
        (("study", "run", "dr"), ["dropout"]),
        (("serve", "transfer", "dr"), ["dropout"]),
        ((*RUN, "--profile", ""), ["quick", "assignment"]),
        (("study", "run", "dropout:quick", "--only", "dropout/p=0.3"), ["dropout/p=0.3"]),
        ((*RUN, "--only", "p=0"), ["p=0.1", "p=0.2", "p=0.3", "p=0.4"]),
        ((*RUN, "--only", ""), [f"dropout/p=0.{i}" for i in range(1, 5)]),
        ((*RUN, "--set", "frozen"), ["frozen_batch_norm="]),
        ((*RUN, "--set", "learn"), []),  # the study searches it
        (("study", "run", "transfer", "--set", "learn"), ["learning_rate="]),
        ((*RUN, "--set", "head="), ["head=linear", "head=dropout", "head=mlp"]),
        ((*RUN, "--set", "head=m"), ["head=mlp"]),
        ((*RUN, "--set", "augment_validation="), ["augment_validation=true"]),
        ((*RUN, "--set", "seed"), []),
        ((*RUN, "--device", "c"), ["cpu", "cuda"]),
        ((*RUN, "--workers", ""), ["auto", "inline", "ray"]),
        (("study", "queue", "dropout", "--param", "dr"), ["dropout_rate="]),
        (("best", "ablate", "dropout", "--only", "dr"), ["dropout_rate"]),
        (("best", "ablate", "dropout", "--against", "p=0.4"), ["p=0.4"]),
        (("study", "new", "mine", "--from", "tr"), ["transfer"]),
        (("completion", "f"), ["fish"]),
        (("study", "run", "nothing", "--profile", ""), []),
        (("study", "run", "--profile", ""), []),
    ],
    ids=str,
)
@pytest.mark.usefixtures("cli")
def test_words(words: tuple[str, ...], completions: list[str]) -> None:
    found = complete(*words)
    assert found[: len(completions)] == completions
    if words[-1]:
        assert all(word.startswith(words[-1]) for word in found)


@pytest.mark.usefixtures("cli")
def test_a_study_of_the_user_s(cli: Cli) -> None:
    assert cli("study", "new", "mine").code == 0
    assert "mine" in complete("study", "show", "")
    assert complete("study", "run", "studies/mine.toml", "--only", "mine/n") == ["mine/no-dropout"]
    Path("studies/bad.toml").write_text("no TOML [")
    Path("studies/worse.toml").write_text("named = 3\nspace = 3\nprofiles = 3")
    for name in ("bad", "worse"):
        for option in ("--only", "--profile", "--set"):
            assert complete("study", "run", name, option, "") in ([], complete(*RUN, option, "x="))


def test_what_cannot_be_read_is_left_out_and_nothing_is_said(cli: Cli) -> None:
    assert cli("study", "new", "mine").code == 0
    Path("studies/deep.toml").write_text(f"a = {'[' * 5000}{']' * 5000}")
    Path("studies/lines.toml").write_text('title = "one\\ntwo\\u001b[31m"')
    os.mkfifo("studies/pipe.toml")
    assert {"mine", "dropout"} < set(complete("study", "show", ""))
    assert complete("study", "run", "deep", "--profile", "") == []
    shown = ask_shell("cifar-tune study show lines", "zsh").stdout
    assert shown.splitlines() == ["plain", "lines", "one two\\x1b[31m"]
    os.mkfifo("pipe.db")
    assert complete("trial", "show", "--storage", "pipe.db", "dropout", "") == []


@pytest.mark.usefixtures("cli")
def test_names_that_others_wrote_into_a_database() -> None:
    made = MadeUp(Path("storage/cifar-tune.db").absolute(), "dropout", "quick")
    made.add_sampled(1)
    with closing(sqlite3.connect("storage/cifar-tune.db")) as database, database:
        add = "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'name', 1)"
        database.execute(add)
    for name in ("[" * 20_000, '"\\u001b[31m"', '"\\ud800"', '"a\\nplain,b"'):
        with closing(sqlite3.connect("storage/cifar-tune.db")) as database, database:
            change = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'name'"
            database.execute(change, (name,))
        answer = ask_shell("cifar-tune trial show dropout ", "bash")
        assert (answer.returncode, answer.stdout.strip(), answer.stderr.strip()) == (0, "", "[]")


@pytest.mark.usefixtures("cli")
def test_trials_of_the_storage() -> None:
    assert complete("trial", "show", "dropout", "") == []
    made = MadeUp(Path("mine.db").absolute(), "dropout", "quick")
    made.add_named(is_read=False, keeps_answers=False)
    made.add_sampled(2)
    assert complete("trial", "show", "dropout", "") == []
    names = [*(f"dropout/p=0.{i}/seed=1" for i in range(1, 5)), "4", "5"]
    here = ("--storage", "mine.db")
    assert complete("trial", "show", *here, "dropout", "") == names
    assert complete("trial", "show", *here, "dropout:quick", "p=0.3") == ["p=0.3/seed=1"]
    assert complete("trial", "diff", *here, "dropout", "4", "5") == ["5"]
    assert complete("trial", "show", *here, "dropout", "--profile", "assignment", "") == []
    Path("cifar-tune.toml").write_text("storage = 'mine.db'")
    assert complete("trial", "show", "dropout", "") == names
    Path("cifar-tune.toml").write_text("storage = ")
    assert complete("trial", "show", "dropout", "") == []
    Path("cifar-tune.toml").unlink()
    Path("pyproject.toml").write_text("[tool.cifar-tune]\nstorage = 'mine.db'")
    assert complete("trial", "show", "dropout", "") == names
    Path("mine.db").write_text("no database")
    assert complete("trial", "show", *here, "dropout", "") == []


def ask_shell(words: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Ask for completions in a process, as a shell's script does."""
    environment = {
        **os.environ,
        "_CIFAR_TUNE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    script = (
        "import sys\nfrom cifar_tune.cli.app import main\n"
        "try: main([])\n"
        "finally:\n"
        "    heavy = {'torch', 'optuna', 'numpy', 'pydantic', 'sqlalchemy'} & set(sys.modules)\n"
        "    print(sorted(heavy), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        "cifar-tune study run dropout --profile q",
        "cifar-tune study run dropout --set fr",
        "cifar-tune trial show dropout p",
    ],
)
def test_nothing_heavy_is_imported(words: str) -> None:
    answer = ask_shell(words, "zsh")
    assert answer.returncode == 0
    assert answer.stderr == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(cli: Cli, shell: str) -> None:
    answer = cli("completion", shell)
    assert answer.code == 0
    assert f"_CIFAR_TUNE_COMPLETE={shell}_complete" in answer.out
    assert cli("completion", "tcsh").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_words_with_an_equals_sign(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(cli("completion", "bash").out, encoding="utf-8")
    lines = {
        "cifar-tune study run dr": "dropout",
        "cifar-tune study run dropout --only dropout/p=0.": "0.1 0.2 0.3 0.4",
        "cifar-tune study run dropout --only p=0.3": "0.3",
        "cifar-tune study run dropout --set head=l": "linear",
        "cifar-tune study run dropout --profile ": "quick assignment",
    }
    python = shlex.join([sys.executable, "-m", "cifar_tune"])
    asking = "".join(
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; "
        '_cifar_tune_completion cifar-tune; echo "${COMPREPLY[*]}"\n'
        for line in lines
    )
    text = f'cifar-tune() {{ {python} "$@"; }}\nsource {shlex.quote(str(script))}\n{asking}'
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, env=environment, check=False
    )
    assert answer.stderr == ""
    assert answer.stdout.splitlines() == list(lines.values())
