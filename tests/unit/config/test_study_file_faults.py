"""What is wrong with a study file is said in full, one line a fault, with nothing written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from command_line import TINY, Cli
from places import STUDY_FILES

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.errors import StudyFileError
from cifar_tune.search.plan import example_config, find_ends

SHIPPED = STUDY_FILES
TEXT = (SHIPPED / "dropout.toml").read_text(encoding="utf-8")


# --- faults -------------------------------------------------------------------------------------


def with_change(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


FAULTS = {
    "unknown key": (
        with_change("head = ", "haed = "),
        r"profiles\.quick\.protocol\.haed: is not a known key; expected one of .* mean head\?",
    ),
    "missing key": (
        with_change("cosine_t_max = 200", ""),
        r"profiles\.quick\.protocol\.cosine_t_max: is missing",
    ),
    "wrong type": (
        with_change("epochs = 3", 'epochs = "3"'),
        r"profiles\.quick\.protocol\.epochs = '3': expected a whole number",
    ),
    "truth value": (
        with_change("augment_validation = false", "augment_validation = 0"),
        r"augment_validation = 0: expected true or false",
    ),
    "out of range": (
        with_change("high = 0.6", "high = 1.0"),
        r"space\.dropout_rate\.high = 1\.0: expected a number below 1\.0",
    ),
    "not a number": (
        with_change("high = 0.6", "high = nan"),
        r"space\.dropout_rate\.high = nan: expected a finite number",
    ),
    "empty range": (
        with_change("low = 0.0\nhigh = 0.6", "low = 0.6\nhigh = 0.6"),
        r"space\.dropout_rate: low = 0\.6, high = 0\.6: expected low < high",
    ),
    "log range at zero": (
        with_change("high = 0.6", "high = 0.6\nlog = true"),
        r"space\.dropout_rate: low = 0 with log = true: expected low > 0",
    ),
    "learning rate zero": (
        with_change("low = 1e-4", "low = 0"),
        r"space\.learning_rate\.low = 0: expected a number above 0",
    ),
    "unknown hyperparameter": (
        with_change("[space.dropout_rate]", "[space.dropout]"),
        r"space\.dropout: is not a known key; .*did you mean dropout_rate\?",
    ),
    "duplicate name": (
        with_change("p=0.2", "p=0.1"),
        r"named\[1\]\.name = 'dropout/p=0\.1': expected a name of its own; named\[0\] has it",
    ),
    "named trial lacks a parameter": (
        with_change("{ dropout_rate = 0.1, ", "{ "),
        r"named\[0\]\.params\.dropout_rate: is missing",
    ),
    "named trial outside the space": (
        with_change("dropout_rate = 0.1", "dropout_rate = 0.7"),
        r"named\[0\]\.params\.dropout_rate = 0\.7: expected 0 to 0\.6",
    ),
    "named trial with a stray parameter": (
        with_change("dropout_rate = 0.1", "momentum = 1, dropout_rate = 0.1"),
        r"named\[0\]\.params\.momentum: is not in space",
    ),
    "hyperparameter nowhere": (
        with_change("freeze_depth = 0\n", ""),
        r"profiles\.quick\.protocol\.freeze_depth: is missing; expected it here or in space",
    ),
    "hyperparameter twice": (
        with_change("freeze_depth = 0\n", "freeze_depth = 0\ndropout_rate = 0.1\n"),
        r"profiles\.quick\.protocol\.dropout_rate: is in space too",
    ),
    "unknown sampler": (
        with_change('name = "tpe"', 'name = "tpee"'),
        r"profiles\.quick\.sampler\.name = 'tpee': expected one of 'tpe', 'gp', 'random'",
    ),
    "unknown key of a pruner, in a profile named like a tag": (
        TEXT.replace("profiles.quick", "profiles.none").replace("percentile = 75", "percent = 75"),
        r"profiles\.none\.pruner\.percent: is not a known key",
    ),
    "no seeds": (with_change("seeds = 1", "seeds = 0"), r"profiles\.quick\.seeds = 0: expected"),
    "too many images": (
        with_change("train_images = 5_000", "train_images = 5_001"),
        r'train_images = 5001: expected at most 5000 with data = "bundled"',
    ),
    "claim of an unknown trial": (
        with_change('trial = "dropout/p=0.3"', 'trial = "dropout/p=0.33"'),
        r"claims\[0\]\.trial = 'dropout/p=0\.33': .*in named; did you mean dropout/p=0\.3\?",
    ),
    "claim against itself": (
        with_change('than = ["dropout/p=0.1", ', 'than = ["dropout/p=0.3", '),
        r"claims\[0\]\.than: expected other trials than 'dropout/p=0\.3' itself",
    ),
    "claim of nothing": (
        with_change("better_in = { val_accuracy = 0.01 }", "better_in = {}"),
        r"claims\[0\]\.better_in: nothing: expected at least one of train_accuracy, val_accuracy",
    ),
    "claim in an unknown quantity": (
        with_change("better_in = { val_accuracy = 0.01 }", "better_in = { accuracy = 0.01 }"),
        r"claims\[0\]\.better_in\.accuracy: is not a known key",
    ),
    "smallest effect of nothing": (
        with_change("better_in = { val_accuracy = 0.01 }", "better_in = { val_accuracy = 0 }"),
        r"claims\[0\]\.better_in\.val_accuracy = 0: expected a number above 0",
    ),
    "two claims of one name": (
        with_change("third-rate-best-on-test", "third-rate-best-on-validation"),
        r"claims\[1\]\.name = 'third-rate-best-on-validation': expected a name of its own",
    ),
    "published under an unknown profile": (
        with_change('profile = "assignment"', 'profile = "full"'),
        r"published\.profile = 'full': expected one of quick, assignment",
    ),
    "broken TOML": (
        with_change('title = "', 'title = "\n'),
        r"is not TOML: .*line 1, column \d+",
    ),
}


@pytest.mark.parametrize(("text", "complaint"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_one_line(cli: Cli, tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    answer = cli("study", "run", str(path))
    assert answer.code == 2
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1, answer.err
    assert re.fullmatch(rf"error: {re.escape(str(path))}: .*{complaint}.*\n", answer.err)
    assert list(tmp_path.iterdir()) == [path]


def searching_batch_sizes(low: int, high: int) -> str:
    """The dropout study with its batch size searched instead of the augmentation strength."""
    searched = f"[space.batch_size]\nlow = {low}\nhigh = {high}\nlog = true\n\n[[named]]"
    text = TEXT.replace("batch_size = 128\n", "").replace("[[named]]", searched, 1)
    return re.sub(r"^params = \{", f"params = {{ batch_size = {high},", text, flags=re.M)


def test_a_searched_batch_size_leaves_no_last_batch_of_one_image(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(searching_batch_sizes(16, 64), encoding="utf-8")
    spec = resolve(load_study_file(str(path)), "quick")
    params = {key: values.low for key, values in spec.space.ranges().items()}
    assert spec.config(params, seed=1).batch_size == 16
    assert find_ends(spec, "batch_size") == (16, 64)
    assert example_config(spec).batch_size == 16
    answer = cli("study", "plan", str(path), "--set", "train_images=1000")
    assert answer.code == 2
    assert answer.err == (
        "error: --set train_images: space.batch_size from 16 to 64 with 1000 images: expected "
        "sizes that leave no last batch of one image, as 27 does: batch norm needs two\n"
    )
    path.write_text(searching_batch_sizes(16, 1000), encoding="utf-8")
    answer = cli("study", "show", str(path))
    assert answer.code == 2
    faults = answer.err.splitlines()
    assert [fault for fault in faults if "with 6000 images" in fault and "as 857 does" in fault]


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    changes = {
        "head = ": "haed = ",
        "epochs = 3": "epochs = 0",
        "high = 0.6": "high = 0",
        "p=0.2": "p=0.1",
        "learning_rate = 0.001": "learning_rate = 5",
    }
    text = TEXT
    for old, new in changes.items():
        text = text.replace(old, new, 1)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(StudyFileError) as caught:
        load_study_file(str(tmp_path / "mine.toml"))
    for key in ("did you mean head?", "epochs = 0", "low = 0, high = 0", "named[1].name"):
        assert key in str(caught.value)
    assert "named[0].params.learning_rate = 5" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_unreadable_files(cli: Cli, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    answer = cli("study", "show", str(path))
    assert answer.code == 2
    assert "not UTF-8" in answer.err or "no such study file" in answer.err


@pytest.mark.parametrize("name", ["lr:1", "a\nb", "\x1b[31m", "a\udcff"])
def test_names_of_files_that_no_study_can_have(cli: Cli, tmp_path: Path, name: str) -> None:
    """A colon ends the file's name in that of its study, by which reports find it."""
    shutil.copy(STUDY_FILES / "dropout.toml", tmp_path / f"{name}.toml")
    answer = cli("study", "run", f"{name}.toml", *TINY, "--epochs", "1")
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ")
    assert "expected a file name of printable characters without a colon" in line
    assert not Path("storage").exists()


def test_unknown_study_names_the_known(cli: Cli) -> None:
    answer = cli("study", "run", "droput")
    assert answer.code == 2
    assert "unknown study 'droput'; known studies: augmentation, beyond-final, " in answer.err
    assert "did you mean dropout?" in answer.err
