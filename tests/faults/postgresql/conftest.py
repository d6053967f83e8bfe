"""A PostgreSQL server for the tests of this folder, and commands on an empty database of it."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from command_line import Answer, Cli
from places import STUDY_FILES
from postgres_study import OWNER, PASSWORD, READER, STUDY, Ask, Database

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.search import costs
from cifar_tune.search.costs import measure_costs
from cifar_tune.search.plan import Costs
from cifar_tune.workers.choose import choose_workers

if TYPE_CHECKING:
    from postgres import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    from postgres import running_server  # skips where there is no driver

    with running_server() as server:
        for role in (OWNER, READER):
            server.execute(f"CREATE ROLE {{}} LOGIN PASSWORD '{PASSWORD}'", role)
        yield server


@pytest.fixture
def database(server: Server) -> Database:
    name = f"studies-{next(_numbers)}"
    server.execute("CREATE DATABASE {} OWNER {}", name, OWNER)
    # Before version 15 everyone may make tables in every database.
    server.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=name)
    server.execute("GRANT CREATE ON SCHEMA public TO {}", OWNER, database=name)
    return Database(server, name)


@functools.cache
def measured_once() -> Costs:
    spec = resolve(load_study_file(STUDY), "quick", {"train_images": 64, "batch_size": 32})
    processor = torch.device("cpu")
    return measure_costs(spec, processor, choose_workers("inline", None, processor))


@pytest.fixture
def ask(cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command on the database, its URL being in the environment.

    The study is the shipped one, but for keeping weights.
    """
    shipped = STUDY_FILES / f"{STUDY}.toml"
    Path("studies").mkdir()
    with Path("studies", shipped.name).open("x", encoding="utf-8") as file:
        for line in shipped.read_text(encoding="utf-8").splitlines():
            file.write(f"{line}\n")
            if line == "[profiles.quick]":
                file.write('keep_weights = "named"\n')
    monkeypatch.setenv("CIFAR_TUNE_STORAGE", database.url())
    # Measuring the machine takes longer than the trials of most of these runs.
    monkeypatch.setattr(costs, "measure_costs", lambda *_: measured_once())

    def run(*arguments: str, code: int = 0) -> Answer:
        monkeypatch.setattr(sys, "argv", ["cifar-tune", *arguments])
        answer = cli(*arguments)
        database.printed += [answer.out, answer.err]
        assert answer.code == code, answer.err
        assert "Traceback" not in answer.err
        return answer

    return run
