"""Study files: what is shipped holds, and what is wrong is said in full, with nothing written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from places import STUDY_FILES

from cifar_tune.config.study_file import find_study_files, load_study_file, parse_override, resolve
from cifar_tune.errors import StudyFileError

SHIPPED = STUDY_FILES
TEXT = (SHIPPED / "dropout.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_study_file_holds(path: Path) -> None:
    loaded = load_study_file(str(path))
    for profile in loaded.content.profiles:
        spec = resolve(loaded, profile)
        for name, (named, seed) in spec.replicates(0).items():
            assert name.startswith(named.name)
            assert spec.named_config(named, seed).epochs == spec.protocol.epochs


def test_replicates_are_paired_across_names() -> None:
    spec = resolve(load_study_file("dropout"), "quick", seeds=3)
    seeds = {name: seed for name, (_, seed) in spec.replicates(0).items()}
    assert len(seeds) == 12
    assert seeds["dropout/p=0.1/seed=2"] == seeds["dropout/p=0.4/seed=2"]
    assert len(set(seeds.values())) == 3
    assert not set(seeds.values()) & {seed for _, seed in spec.replicates(1).values()}


def test_own_folder_hides_a_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").mkdir()
    own = tmp_path / "studies" / "dropout.toml"
    own.write_text(TEXT.replace('title = "', 'title = "My own: '), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert find_study_files()["dropout"].absolute() == own
    assert load_study_file("dropout").content.title.startswith("My own")


# --- overrides ----------------------------------------------------------------------------------


def test_override_makes_a_study_of_its_own() -> None:
    loaded = load_study_file("dropout")
    assert resolve(loaded, "quick").study_name == "dropout:quick"
    changed = resolve(loaded, "quick", {"epochs": 2, "batch_size": 64})
    assert changed.study_name == "dropout:quick:batch_size=64,epochs=2"
    assert changed.config(changed.named[0].params, seed=0).batch_size == 64


@pytest.mark.parametrize("override", [{"epochs": 3}, {"weight_decay": 0.0}, {"stem": "imagenet"}])
def test_override_that_changes_nothing_is_none(override: dict[str, Any]) -> None:
    assert resolve(load_study_file("dropout"), "quick", override).study_name == "dropout:quick"


def test_hyperparameters_that_the_assignment_does_not_have() -> None:
    loaded = load_study_file("dropout")
    plain = resolve(loaded, "quick")
    decayed = resolve(loaded, "quick", {"weight_decay": 0.1, "crop_padding": 4})
    assert decayed.study_name == "dropout:quick:crop_padding=4,weight_decay=0.1"
    first, second = (spec.named_config(spec.named[0], seed=0) for spec in (plain, decayed))
    assert (second.weight_decay, second.crop_padding) == (0.1, 4)
    assert second.as_stored() == first.as_stored() | {"weight_decay": 0.1, "crop_padding": 4}


@pytest.mark.parametrize(
    ("text", "value"),
    [("epochs=3", 3), ("a=0.5", 0.5), ("b=true", True), ("head=mlp", "mlp"), ("c=[1, 2]", [1, 2])],
)
def test_override_values_are_toml_or_text(text: str, value: object) -> None:
    assert parse_override(text) == (text.partition("=")[0], value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "epoch=2"], "--set epoch: is not a known key"),
        (["--set", "epoch=2"], "did you mean epochs?"),
        (["--set", "batch_size"], "expected key=value"),
        (["--set", "batch_size=0"], "batch_size = 0: expected a number of at least 2"),
        (["--set", "batch_size=4999"], "no last batch of one image"),
        (["--set", "learning_rate=1"], "is searched by this study"),
        (["--set", "head=linear"], "has no dropout"),
        (["--set", "momentum=0.5"], 'momentum: is of optimizer = "sgd" alone'),
        (["--set", "optimizer=adagrad"], "optimizer = 'adagrad': expected 'adam' or 'sgd'"),
        (["--set", "crop_padding=1.5"], "crop_padding = 1.5: expected a whole number"),
        (["--set", "stem=cifar", "--set", "weights=imagenet"], 'weights = "none": pretrained ones'),
        (["--set", "train_images=6000"], "at most 5000"),
        (["--epochs", "0"], "epochs = 0: expected a number of at least 1"),
        (["--profile", "slow"], "expected one of the profiles"),
        (["--seeds", "0"], "0 is not in the range"),
        (["--trials", "many"], "'many' is not a valid integer"),
        (["--precision", "fp16"], "expected auto, fp32 or bf16"),
        (["--device", "cuda:one"], "expected auto, cpu, mps, cuda or cuda:N"),
        (["--device", "tpu"], "expected auto, cpu, mps, cuda or cuda:N"),
        (["--only", "p=0.5"], "--only p=0.5: expected a named trial: dropout/p=0.1"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_wrong_options(
    cli: Cli, tmp_path: Path, command: str, arguments: list[str], complaint: str
) -> None:
    answer = cli("study", command, "dropout", *arguments)
    assert answer.code == 2
    assert complaint in answer.err
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_here(cli: Cli, tmp_path: Path) -> None:
    answer = cli("study", "run", "dropout", "--device", "cuda:99")
    assert answer.code == 2
    assert "CUDA device" in answer.err
    assert answer.out.splitlines() == ["study      dropout: Dropout rate before the classifier"]
    assert list(tmp_path.iterdir()) == []


# --- named trials with settings of their own -----------------------------------------------------

TRANSFER = (SHIPPED / "transfer.toml").read_text(encoding="utf-8")


def test_settings_win_over_protocol_and_override() -> None:
    spec = resolve(load_study_file("transfer"), "assignment", {"weights": "mine"})
    weights = {named.name: spec.named_config(named, seed=0).weights for named in spec.named}
    assert weights.pop("transfer/scratch") == "none"
    assert set(weights.values()) == {"mine"}
    assert spec.weights() == {"mine"}


def test_only_some_named_trials() -> None:
    loaded = load_study_file("dropout")
    spec = resolve(loaded, "quick", only=("dropout/p=0.4", "dropout/p=0.1"))
    assert [named.name for named in spec.named] == ["dropout/p=0.1", "dropout/p=0.4"]
    assert spec.profile.trials == 0
    assert spec.study_name == resolve(loaded, "quick").study_name
    with pytest.raises(StudyFileError, match=r"--only p=0.9: expected a named trial: dropout/p=0"):
        resolve(loaded, "quick", only=("p=0.9",))


SETTINGS_FAULTS = {
    "unknown setting": (
        'settings = { haed = "mlp", dropout_rate = 0.2, freeze_depth = 2 }',
        r"named\[2\]\.settings\.haed: is not a known key; .*did you mean head\?",
    ),
    "setting that is the same for all": (
        "settings = { epochs = 3 }",
        r"named\[2\]\.settings\.epochs: is not a known key; expected one of weights, head",
    ),
    "setting out of range": (
        "settings = { freeze_depth = 6 }",
        r"named\[2\]\.settings\.freeze_depth = 6: expected a number of at most 5",
    ),
    "setting that does not go with the protocol": (
        "settings = { dropout_rate = 0.2 }",
        r"named\[2\]\.settings: with profiles\.quick\.protocol, head = .linear.: has no dropout",
    ),
    "parameter without a space": (
        "params = { freeze_depth = 2 }",
        r"named\[2\]\.params\.freeze_depth: is not in space",
    ),
}


@pytest.mark.parametrize(("line", "complaint"), SETTINGS_FAULTS.values(), ids=SETTINGS_FAULTS)
def test_faults_of_settings(cli: Cli, tmp_path: Path, line: str, complaint: str) -> None:
    old = 'settings = { head = "mlp", dropout_rate = 0.2, freeze_depth = 2 }\n'
    assert old in TRANSFER
    path = tmp_path / "mine.toml"
    path.write_text(TRANSFER.replace(old, line + "\n", 1), encoding="utf-8")
    answer = cli("study", "show", str(path))
    assert answer.code == 2
    assert re.search(complaint, answer.err), answer.err
    assert all(line.startswith(f"error: {path}: named[2]") for line in answer.err.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('split = "fixed"', 'split = "plain"', r'split = "plain": expected "fixed" with data'),
        ("input_size = 32", "input_size = 64", r"input_size = 64: expected 32 with weights"),
        ("trials = 0", "trials = 3", r"trials = 3: expected 0, since space is empty"),
        ('weights = "tiny', 'weights = "Tiny', r"expected text that matches"),
        (
            'keep_weights = "named"',
            'keep_weights = "all"',
            r"keep_weights = 'all': expected 'none'",
        ),
    ],
)
def test_faults_of_a_protocol(cli: Cli, tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TRANSFER.replace(old, new, 1), encoding="utf-8")
    answer = cli("study", "show", str(path))
    assert answer.code == 2
    assert re.search(complaint, answer.err), answer.err


def test_more_trials_of_a_study_that_searches_nothing(cli: Cli, tmp_path: Path) -> None:
    answer = cli("study", "run", "transfer", "--trials", "2")
    assert answer.code == 2
    assert "--trials 2: transfer has no search space" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_search_needs_sampler_and_pruner(cli: Cli, tmp_path: Path) -> None:
    start = TEXT.index("[profiles.quick.pruner]")
    end = TEXT.index("[profiles.quick.protocol]")
    path = tmp_path / "mine.toml"
    path.write_text(TEXT[:start] + TEXT[end:], encoding="utf-8")
    answer = cli("study", "show", str(path))
    assert "profiles.quick.pruner: is missing; trials = 8 need it" in answer.err
