"""Turn a captured terminal screen into the README's picture, docs/pictures/study-run.svg.

tmux new-session -d -s run -x 108 -y 64 "cifar-tune study run dropout; sleep 999"

and, when it has ended,

tmux capture-pane -e -p -t run | python .ci/terminal_picture.py "cifar-tune study run dropout"
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 108
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "study-run.svg"


def main() -> None:
    """Read the screen, with its colours, on standard input and write the SVG."""
    command = sys.argv[1]
    screen = sys.stdin.read().rstrip()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ " + command, style="bold"))
    console.print(Text.from_ansi(screen))
    svg = console.export_svg(title="cifar-tune")
    # The fonts come from the reader's machine: the picture asks no other host for anything.
    svg = re.sub(r",\s*url\([^;]*;", ";", svg)
    PICTURE.write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
