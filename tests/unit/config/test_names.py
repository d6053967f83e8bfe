"""Names stand for hyperparameters, trials and studies as they are shown and in full."""

from __future__ import annotations

import pytest

from cifar_tune.config.names import (
    read_number,
    resolve_key,
    resolve_name,
    split_study_name,
    suggest_key,
    suggest_name,
)
from cifar_tune.config.schema import Protocol
from cifar_tune.config.study_file import parse_override
from cifar_tune.config.trial import HYPERPARAMETERS
from cifar_tune.config.wording import long_name, short_name
from cifar_tune.errors import InputError

KEYS = list(Protocol.model_fields)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_found_by_each_of_its_names(key: str) -> None:
    """So no two keys have one name."""
    for name in (key, short_name(key), long_name(key), key.upper(), key.replace("_", "-")):
        assert resolve_key(name, KEYS) == key


def test_some_names_are_short() -> None:
    assert short_name("learning_rate") == "lr"
    assert {short_name(key) for key in HYPERPARAMETERS} != set(HYPERPARAMETERS)


def test_a_key_is_one_of_those_that_are_known() -> None:
    assert resolve_key("lr", ["dropout_rate"]) == "lr"
    assert resolve_key("nothing", KEYS) == "nothing"


@pytest.mark.parametrize(
    ("text", "meant"), [("learnig_rate", "learning_rate"), ("augmnt", "augmentation_strength")]
)
def test_a_misspelt_key_is_suggested_in_full(text: str, meant: str) -> None:
    assert suggest_key(text, KEYS) == f"; did you mean {meant}?"
    assert suggest_key("xyzzy", KEYS) == ""


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("lr=0.01", ("learning_rate", 0.01)),
        (" learning-rate = 1e-3", ("learning_rate", 1e-3)),
        ("batch norm=running", ("frozen_batch_norm", "running")),
        ("other=1", ("other", 1)),
    ],
)
def test_an_override_has_the_full_key(text: str, read: tuple[str, object]) -> None:
    assert parse_override(text) == read


NAMED = ["dropout/p=0.1", "dropout/p=0.3", "final/p=0.3"]
REPLICATES = ["dropout/p=0.1/seed=1", "dropout/p=0.3/seed=1", "dropout/p=0.3/seed=2"]


@pytest.mark.parametrize(
    ("text", "names", "meant"),
    [
        ("dropout/p=0.3", NAMED, "dropout/p=0.3"),
        ("p=0.1", NAMED, "dropout/p=0.1"),
        ("p=0.2", NAMED, None),
        ("", NAMED, None),
        ("dropout", NAMED, None),
        ("p=0.3/seed=2", REPLICATES, "dropout/p=0.3/seed=2"),
        ("dropout/p=0.1", REPLICATES, "dropout/p=0.1/seed=1"),
        ("p=0.1", [*REPLICATES, "dropout/p=0.1/seed=1"], "dropout/p=0.1/seed=1"),
        ("trial-7", ["sampled/trial-7", "sampled/trial-17"], "sampled/trial-7"),
        ("a/b", ["a/b", "a/b/seed=1"], "a/b"),
    ],
)
def test_a_name_may_be_shortened(text: str, names: list[str], meant: str | None) -> None:
    assert resolve_name(text, names, "--only") == meant


@pytest.mark.parametrize(("text", "names"), [("p=0.3", NAMED), ("p=0.3", REPLICATES)])
def test_a_name_of_several_is_refused(text: str, names: list[str]) -> None:
    several = [name for name in names if text in name]
    with pytest.raises(InputError) as error:
        resolve_name(text, names, "--only p=0.3")
    assert str(error.value) == f"--only p=0.3: expected one of {', '.join(several)}"


def test_a_misspelt_name_is_suggested_in_full() -> None:
    assert suggest_name("p=0.31", ["dropout/p=0.3"]) == "; did you mean dropout/p=0.3?"
    assert suggest_name("droput/p=0.1/seed=1", REPLICATES) == "; did you mean dropout/p=0.1/seed=1?"
    assert suggest_name("xyzzy", NAMED) == ""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("#7", 7),
        ("trial-7", 7),
        ("sampled/trial-7", 7),
        ("##7", None),
        ("-7", None),
        ("7.0", None),
        ("p=7", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_of_trials(text: str, number: int | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dropout", ("dropout", None, [])),
        ("dropout:quick", ("dropout", "quick", [])),
        ("dropout:quick:epochs=2", ("dropout", "quick", ["epochs=2"])),
        (
            "dropout:quick:augment_validation=True,normalize_mean=[0.5, 0.5, 0.5]",
            ("dropout", "quick", ["augment_validation=true", "normalize_mean=[0.5, 0.5, 0.5]"]),
        ),
        ("studies/a:b.toml", ("studies/a:b.toml", None, [])),
        ("./a:b", ("./a:b", None, [])),
    ],
)
def test_the_parts_of_a_study_name(text: str, parts: tuple[str, str | None, list[str]]) -> None:
    assert split_study_name(text) == parts
