"""The command ``cifar-tune completion``."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, ShellComplete, get_completion_class

from cifar_tune.cli.help import command

VARIABLE = "_CIFAR_TUNE_COMPLETE"
"""The environment variable by which a shell asks for completions, as Click names it."""
_BASH = """\
%(complete_func)s() {
    # Bash splits words at = and :, which names of trials and values have.
    local line="${COMP_LINE:0:COMP_POINT}" word type value
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    local split="${word%%"${word##*[=:]}"}"

    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("${value#"$split"}")
            [[ $value == *= ]] && compopt -o nospace
        fi
    done < <(COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _BashComplete(BashComplete):
    """Click's completion for bash, with words that have an = or a : in them."""

    source_template = _BASH


@command("completion", epilog="Example: cifar-tune completion bash")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands in a shell.

    Studies, profiles, trials and hyperparameters are completed too. Bash (4.4 or newer) and zsh:
    put eval "$(cifar-tune completion bash)", with the shell's name, into ~/.bashrc or ~/.zshrc.
    Fish: write the script to ~/.config/fish/completions/cifar-tune.fish.
    """
    from cifar_tune.cli.app import app

    found = _BashComplete if shell == "bash" else get_completion_class(shell)
    assert found is not None and issubclass(found, ShellComplete)  # noqa: PT018
    click.echo(found(app, {}, "cifar-tune", VARIABLE).source(), nl=False)
