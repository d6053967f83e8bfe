"""What stands where a file is expected may be a pipe, a device, a folder, or far too large."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
from command_line import Cli
from dashboard_client import ask_app

from cifar_tune import files
from cifar_tune.dashboard.queue.app import make_queue_app
from cifar_tune.evaluation.export import study as exports
from cifar_tune.files import open_regular
from cifar_tune.storage import studies
from cifar_tune.storage.location import locate_storage

READERS = {
    "study/s.toml": ("study", "plan", "study/s.toml"),
    "export.json": ("study", "import", "export.json", "--storage", "new.db"),
    "model/config.json": ("predict", "model", "photo.png"),
    "weights.pth": ("weights", "import", "weights.pth", "--name", "w", "--data-dir", "data"),
    "weights.safetensors": ("weights", "import", "weights.safetensors", "--data-dir", "data"),
    "text.md.j2": ("report", "text.md.j2"),
    "images.npz": ("data", "import", "images.npz", "--name", "own", "--data-dir", "data"),
    "images.tar": ("data", "import", "images.tar", "--data-dir", "data"),
}
"""Commands that read a file, by its name."""
KINDS = ("pipe", "device", "link to a device", "folder", "missing")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_read(cli: Cli, name: str, kind: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    make_special(path, kind)
    answer = cli(*READERS[name])
    assert answer.code == 2, answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith(("error: ", "Error: "))
    assert name in line
    assert not Path("new.db").exists()
    assert not Path("data").exists()


def make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        try:
            os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
            path.open("rb").close()
        except OSError:
            pytest.skip("only an administrator makes a device")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()


def test_an_export_that_is_too_large_is_not_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MOST_BYTES", 1000)
    Path("export.json").write_bytes(b"[" + b"1," * 1000 + b"1]")
    answer = cli("study", "import", "export.json", "--storage", "new.db")
    assert answer.code == 2
    assert answer.err == (
        "error: export.json: cannot be read: has 2,003 bytes, expected at most 1,000\n"
    )


def test_a_study_file_of_a_gigabyte_is_not_read(cli: Cli) -> None:
    Path("studies").mkdir()
    with Path("studies/huge.toml").open("wb") as file:
        file.truncate(1 << 30)  # it takes no room on the disk
    answer = cli("study", "list", "--json")
    assert answer.code == 2
    assert "dropout" in [study["name"] for study in answer.record["studies"]]
    (line,) = answer.err.splitlines()
    assert "huge.toml: cannot be read: has 1,073,741,824 bytes" in line


def test_weights_that_unpack_to_more_than_they_are(cli: Cli) -> None:
    with zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
        archive.writestr("bomb/data/0", bytes(50_000_000))
    answer = cli("weights", "import", "bomb.pth", "--data-dir", "data")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "bomb.pth: refused: it unpacks to 50,000," in line


def test_a_link_is_followed_unless_it_is_not_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("file")
    assert files.read_text(tmp_path / "link") == "1"
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "link", follows_links=False)
    with pytest.raises(OSError, match="no file can have this name"):
        open_regular(tmp_path / "a\0b")


def test_a_mark_at_the_beginning_of_a_text_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("\ufeffa = 1\r\n".encode())
    assert files.read_text(tmp_path / "text") == "a = 1\n"


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 5000 + "]" * 5000, "x = " + "1" * 5000, "x = 0x" + "f" * 5000, "\0"]
)
def test_one_bad_study_file_leaves_the_others(cli: Cli, tmp_path: Path, text: str) -> None:
    Path("studies").mkdir()
    Path("studies/bad.toml").write_text(text)
    answer = cli("study", "list", "--json")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "bad.toml: is not TOML: " in line
    assert "dropout" in [study["name"] for study in answer.record["studies"]]
    storage = studies.open_to_write(locate_storage(str(tmp_path / "s.db")))
    page = ask_app(make_queue_app(storage, None, is_read_only=False), "").decode()
    assert "dropout:quick" in page
    assert "bad:" not in page
    storage.engine.dispose()


@pytest.mark.parametrize("value", ["[" * 5000, "1" * 5000, "0x" + "f" * 5000, "nan", "1e999"])
def test_an_override_that_is_no_number(cli: Cli, value: str) -> None:
    answer = cli("study", "show", "dropout", "--set", f"epochs={value}")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("error: --set epochs = ")
    assert line.endswith(": expected a whole number")
