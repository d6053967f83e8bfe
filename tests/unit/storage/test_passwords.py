"""Passwords are hidden wherever a user's text or a driver's is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Cli

from cifar_tune import paths
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.passwords import hide_words, mask_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:hidden@host:5432/name", None),
        ("postgresql://me:hid%2Fden@[::1]:5432/name", None),
        ("postgresql://me:hid@den/hidden@host/name", None),
        ("postgresql://:hidden@host/name", None),
        ("error: postgresql://me:hidden@host/name: refused by a@b", None),
        ("unexpected extra argument (postgresql://me:hidden@host/name)", None),
        ("postgresql:/me:hidden@host/name: is no study file", None),
        ("postgresql://me@host/name?password=hidden&sslmode=off", None),
        ("postgresql://me@host/name?sslpassword=hidden: no", None),
        ("host=here password=hidden dbname=name", None),
        ("postgresql://me:hidden", "postgresql://me:***"),
        ("postgresql://me:hid/den@", "postgresql://me:***@"),
    ],
)
def test_what_is_hidden(text: str, shown: str | None) -> None:
    hidden = mask_passwords(text)
    assert "hid" not in hidden
    assert "den" not in hidden.replace("is no study", "")
    for part in ("hid@den/hidden", "hid%2Fden", "hid/den", "hidden"):
        text = text.replace(part, "***")
    assert hidden == (shown or text)
    assert mask_passwords(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@host:5432/name",
        "postgresql://host:5432/name?passfile=/home/me/.pgpass",
        "postgresql://me@[2001:db8::1]:5432/name",
        "postgresql:///name?host=one:5432&host=two",
        "sqlite:///storage/me:you@home.db",
        "https://host/archive.tgz: answered 404, not 200; ask me@host",
        "studies/a:b.toml: epochs = 0: expected 1 or more",
    ],
)
def test_what_is_left_as_it_is(text: str) -> None:
    assert mask_passwords(text) == text


def test_argument_with_white_space_is_one_url() -> None:
    url = "postgresql://me:hid den@host/name"
    assert mask_passwords(url, is_argument=True) == "postgresql://me:***@host/name"


def test_words_are_hidden_in_each_form_and_only_whole() -> None:
    said = 'no a/b for "a%2Fb", a/bc'
    assert hide_words(said, ["a/b", ""]) == 'no *** for "***", a/bc'


@pytest.mark.parametrize(
    "storage",
    [
        "me:hidden@host/name",
        "host=here password=hidden",
        "postgresql://me:hidden",
        "postgresql://me:hid@den@host/name",
        "postgresql://me:hid@den/den@host/name",
        "sqlite://me:hidden@host",
    ],
)
def test_storage_that_is_no_place_is_refused_without_its_password(
    cli: Cli, tmp_path: Path, storage: str
) -> None:
    answer = cli("study", "list", "--storage", storage)
    assert answer.code == 2
    assert answer.err.startswith("error: --storage")
    assert "hid" not in answer.err + answer.out
    assert list(tmp_path.iterdir()) == []


def test_location_never_shows_its_password() -> None:
    location = locate_storage("postgresql://me:hid%2Fden@host/name?p%61ssword=hidden")
    for shown in (repr(location), str(location)):
        assert "hid" not in shown
    assert "hid%2Fden" in location.url  # it is there


def test_databases_share_no_files() -> None:
    places = [
        "postgresql://me@host/cifar-tune",
        "postgresql://me@host/other",
        "mysql://me@host/other",
        "storage/cifar-tune.db",
        "storage/other.db",
    ]
    beside = [locate_storage(place).beside for place in places]
    folders = [paths.old_study_folder(one, "dropout:quick") for one in beside]
    assert len({paths.kept_weights_file(folder, 0) for folder in folders}) == len(places)
    assert {paths.checkpoints_folder(folder, 0).parts[0] for folder in folders} == {"storage"}
