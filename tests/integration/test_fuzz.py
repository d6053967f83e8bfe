"""Every reader is given wrong inputs, 30 each in every run and 300 with ``-m long``.

None may end in a traceback, print what commands a terminal, write outside of its folder, or end
with another exit code than 0, 1 and 2.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults

import mutations
import numpy as np
import pytest
import torch
from attacker import Attacker
from command_line import Cli
from made_up import MadeUp
from PIL import Image
from places import STUDY_FILES
from safetensors.torch import save_file

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.config.trial import digest_of
from cifar_tune.dashboard.queue.app import make_queue_app
from cifar_tune.evaluation.export.study import export_study
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import save_model
from cifar_tune.storage import studies
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.queue import TrialQueue

INPUTS, MORE_INPUTS = 30, 300
DATABASE = Path("storage/cifar-tune.db")
NUMBER_OF_FAULTS_SHOWN = 5


@pytest.fixture(
    params=[
        pytest.param(INPUTS, id="some"),
        pytest.param(MORE_INPUTS, id="many", marks=pytest.mark.long),
    ]
)
def attack(
    request: pytest.FixtureRequest, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[Attacker], None]], None]]:
    """Make wrong inputs, each in a folder that has three others above it."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    attackers: list[Attacker] = []

    def run(once: Callable[[Attacker], None]) -> None:
        for index in range(request.param):
            source = random.Random(f"{request.node.name} {index}")
            attacker = Attacker(cli, folder, source)
            attackers.append(attacker)
            once(attacker)
        attackers[0].check_outside()

    yield run
    faults = [fault for attacker in attackers for fault in attacker.faults]
    shown = "\n\n".join(faults[:NUMBER_OF_FAULTS_SHOWN])
    assert len(faults) == 0, f"{len(faults)} faults in {len(attackers)} inputs:\n{shown}"


Attack = Callable[[Callable[[Attacker], None]], None]


def test_study_files(attack: Attack) -> None:
    Path("studies").mkdir()
    texts = [(STUDY_FILES / f"{name}.toml").read_text() for name in ("dropout", "transfer")]

    def once(attacker: Attacker) -> None:
        text = attacker.source.choice(texts)
        content = mutations.change_lines(text, mutations.WRONG_TOML, attacker.source)
        Path("studies/bad.toml").write_bytes(content)
        listed = attacker.call("study", "list", "--json")
        if listed is not None and "final" not in [one["name"] for one in listed.record["studies"]]:
            attacker.add("the good ones are not listed", content, listed.err)
        attacker.call("study", "show", "bad")

    attack(once)


DEFAULTS = """\
storage = "s.db"
profile = "quick"
workers = 2
device = "cpu"
quiet = false
"""


def test_defaults_of_a_folder(attack: Attack) -> None:
    table = f"[tool.cifar-tune]\n{DEFAULTS}"

    def once(attacker: Attacker) -> None:
        path, text = attacker.source.choice(
            [("cifar-tune.toml", DEFAULTS), ("pyproject.toml", table)]
        )
        content = mutations.change_lines(text, mutations.WRONG_TOML, attacker.source)
        Path(path).write_bytes(content)
        attacker.call("study", "show", "dropout")
        attacker.call("study", "list", "--help")
        Path(path).unlink()

    attack(once)


def test_overrides(attack: Attack) -> None:
    keys = ("epochs", "batch_size", "learning_rate", "head", "data", "normalize_mean", "nope", "")

    def once(attacker: Attacker) -> None:
        value = attacker.source.choice((*mutations.TEXTS, *mutations.WRONG_TOML, "[1, 2, 3]", "3"))
        override = f"{attacker.source.choice(keys)}={value}".replace("\0", "")
        command = attacker.source.choice((("study", "show"), ("study", "queue"), ("report",)))
        attacker.call(*command, "dropout", "--set", override.encode(errors="replace").decode())

    attack(once)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with named and sampled trials and what was queued, and its export."""
    folder = tmp_path_factory.mktemp("made")
    database = folder / "cifar-tune.db"
    study = MadeUp(database, "dropout", "quick")
    study.add_named()
    study.add_sampled(4)
    queue = TrialQueue(study.opened)
    export_study(locate_storage(str(database)), study.spec, folder / "export.json")
    queue.ask_for_trial(study.spec, "dropout", {"dropout_rate": 0.2}, 5, "terminal")
    queue.ask_for_study(study.spec, "dropout", "terminal")
    study.opened.engine.dispose()
    return folder


def test_exports(attack: Attack, made: Path) -> None:
    text = (made / "export.json").read_text(encoding="utf-8")
    content = json.loads(text)
    del content["sha256"]

    def once(attacker: Attacker) -> None:
        changed = mutations.change_json(content, attacker.source)
        if isinstance(changed, dict):
            changed["sha256"] = digest_of(changed)
        data = json.dumps(changed).encode()
        if attacker.source.random() < 0.1:
            data = mutations.change_bytes(data, attacker.source)
        Path("export.json").write_bytes(data)
        into = ("--storage", "new/s.db")
        answer = attacker.call("study", "import", "export.json", *into)
        if answer is not None and answer.code == 0:
            for command in (("study", "show", "dropout"), ("report", "dropout", "--json")):
                attacker.call(*command, *into)
            attacker.call("test-reads", *into)
        elif Path("new").exists():
            attacker.add("written and refused", changed, "")
        shutil.rmtree("new", ignore_errors=True)

    attack(once)


def test_model_folders(attack: Attack) -> None:
    spec = resolve(load_study_file("dropout"), "quick")
    params = {"dropout_rate": 0.1, "learning_rate": 0.001, "augmentation_strength": 1.0}
    config = spec.config(params, 1)
    model = Path("model")
    sha256 = save_model(build_model(config, 2), model / "model.safetensors")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("photo.png")
    about = {
        "format": 1,
        "classes": ["cat", "dog"],
        "image_size": 32,
        "weights_sha256": sha256,
        "calibration": {"temperature": 1, "error_before": 0, "error_after": 0, "images": 10},
        "config": config.as_stored(),
    }

    def once(attacker: Attacker) -> None:
        content = mutations.change_json(about, attacker.source)
        (model / "config.json").write_text(json.dumps(content), encoding="utf-8")
        answer = attacker.call("predict", "model", "photo.png", "--device", "cpu", "--json")
        if answer is not None and answer.code == 0:
            json.loads(answer.out, parse_constant=lambda name: attacker.add("no JSON", name, ""))

    attack(once)


def test_templates(attack: Attack) -> None:
    def once(attacker: Attacker) -> None:
        text = mutations.make_template(attacker.source)
        Path("text.md.j2").write_text(text, encoding="utf-8")
        attacker.call("report", "text.md.j2")

    attack(once)


def test_weights(attack: Attack) -> None:
    torch.manual_seed(0)
    tensors: dict[str, Any] = {
        "conv1.weight": torch.zeros(64, 3, 7, 7),
        "bn1.weight": torch.ones(64),
        "fc.weight": torch.ones(10, 512),
    }
    odd: tuple[Any, ...] = (
        torch.zeros(64, device="meta"),
        torch.zeros(64).to_sparse(),
        torch.zeros(64).to(torch.float8_e4m3fn),
        torch.zeros(64, dtype=torch.complex64),
        torch.full((64,), float("nan")),
        torch.full((64,), 1e300, dtype=torch.float64),
        torch.zeros(1).expand(10**9),
        torch.zeros(64, dtype=torch.bool),
        torch.quantize_per_tensor(torch.zeros(64), 0.1, 0, torch.qint8),
        *mutations.NUMBERS,
        *mutations.TEXTS[:20],
        *mutations.ODD[:6],
    )

    def once(attacker: Attacker) -> None:
        content: Any = dict(tensors)
        key = attacker.source.choice((*content, *mutations.TEXTS, 5))
        content[key] = attacker.source.choice(odd)
        content = attacker.source.choice((content, {"state_dict": content}, [content], odd[-1]))
        path = Path(attacker.source.choice(("w.pth", "w.pt", "w.safetensors")))
        if attacker.source.random() < 0.3:
            save_file(tensors, path)
        else:
            is_new = attacker.source.random() < 0.8
            torch.save(content, path, _use_new_zipfile_serialization=is_new)
        if attacker.source.random() < 0.5:
            path.write_bytes(mutations.change_bytes(path.read_bytes(), attacker.source))
        attacker.call("weights", "import", str(path), "--name", "w", "--data-dir", "data")
        attacker.call("weights", "status", "--data-dir", "data")

    attack(once)


def test_kept_weights_that_others_wrote(attack: Attack) -> None:
    Path("data/weights").mkdir(parents=True)

    def once(attacker: Attacker) -> None:
        path = Path("data/weights/mine.safetensors")
        about = mutations.change_json(
            {"name": "mine", "sha256": "0" * 64, "source": "x"}, attacker.source
        )
        metadata = {"about": json.dumps(about)}
        save_file({"conv1.weight": torch.zeros(2)}, path, metadata=metadata)
        if attacker.source.random() < 0.3:
            path.write_bytes(mutations.change_bytes(path.read_bytes(), attacker.source))
        attacker.call("weights", "status", "--data-dir", "data")

    attack(once)


READERS = (
    ("study", "list"),
    ("study", "show", "dropout"),
    ("study", "queue", "dropout", "--profile", "quick"),
    ("report", "dropout", "--json"),
    ("report", "dropout", "--csv"),
    ("best", "show", "dropout"),
    ("trial", "show", "dropout", "0"),
    ("trial", "show", "dropout", "5", "--json"),
    ("test-reads",),
    ("study", "export", "dropout", "--out", "out.json"),
    ("trial", "drop", "dropout", "1"),
    ("trial", "list", "dropout", "--sort", "value"),
    ("study", "delete", "dropout", "--yes"),
)
ATTRIBUTES = ("trial_user_attributes", "study_user_attributes", "trial_system_attributes")


def test_attributes_of_the_database(attack: Attack, made: Path) -> None:
    def once(attacker: Attacker) -> None:
        _copy(made)
        table = attacker.source.choice(ATTRIBUTES)
        with closing(sqlite3.connect(DATABASE)) as database:
            rows = database.execute(f"SELECT rowid, value_json FROM {table}").fetchall()
            row, value = attacker.source.choice(rows)
            text = json.dumps(mutations.change_json(json.loads(value), attacker.source))
            if attacker.source.random() < 0.1:
                text = attacker.source.choice(("", "{", "[" * 5000, "9" * 5000, "nan"))
            database.execute(f"UPDATE {table} SET value_json = ? WHERE rowid = ?", (text, row))
            database.commit()
        for command in attacker.source.sample(READERS, 2):
            attacker.call(*command)
        _ask_once(attacker)

    attack(once)


def test_columns_of_the_database(attack: Attack, made: Path) -> None:
    """Values of trials, rows of the queue and of the ledger."""
    columns = {
        "cifar_tune_queue": ("request", "asked", "state", "trial", "reason", "study_name"),
        "trial_values": ("value",),
        "trial_intermediate_values": ("intermediate_value",),
        "trial_params": ("param_value", "param_name"),
        "cifar_tune_test_read": ("time", "name", "trial", "seed", "accuracy", "command", "loss"),
    }

    def once(attacker: Attacker) -> None:
        _copy(made)
        source = attacker.source
        table = source.choice(list(columns))
        column = source.choice(columns[table])
        value = source.choice((*mutations.TEXTS, *mutations.NUMBERS))
        if column == "request" and source.random() < 0.8:
            request = {"study": "dropout", "profile": "quick", "overrides": {}, "by": "x"}
            request |= {"params": {"dropout_rate": 0.1}, "seed": 1}
            value = json.dumps(mutations.change_json(request, source))
        if isinstance(value, str):
            value = value.encode(errors="replace").decode()
        elif isinstance(value, int) and abs(value) >= 2**63:
            value = 2**62
        with closing(sqlite3.connect(DATABASE)) as database:
            for action in ("update", "delete"):
                database.execute(f"DROP TRIGGER cifar_tune_test_read_no_{action}")
            try:
                database.execute(f"UPDATE {table} SET {column} = ?", (value,))
            except sqlite3.IntegrityError:
                return  # SQLite itself does not take it
            database.commit()
        for command in source.sample(READERS, 2):
            attacker.call(*command)
        _ask_once(attacker)

    attack(once)


def _copy(made: Path) -> None:
    shutil.rmtree(DATABASE.parent, ignore_errors=True)
    shutil.copytree(made, DATABASE.parent)


def test_web_forms(attack: Attack, made: Path) -> None:
    _copy(made)
    storage = studies.open_to_write(locate_storage(str(DATABASE)))
    app = make_queue_app(storage, None, is_read_only=False)
    paths = ("/trials", "/studies", "/cancel", "/stop", "/continue", "/nope")
    form = {
        "study_name": "dropout:quick",
        "dropout_rate": "0.1",
        "seed": "5",
        "id": "3",
        "from": "dropout:quick",
    }

    def once(attacker: Attacker) -> None:
        source = attacker.source
        key = source.choice((*form, *mutations.TEXTS))
        value = source.choice((*mutations.TEXTS, *map(str, mutations.NUMBERS[:6])))
        fields = {**form, key: value}
        body = urlencode(fields, errors="surrogatepass").encode()
        if source.random() < 0.2:
            body = mutations.change_bytes(body, source)
        _ask(attacker, app, "POST", source.choice(paths), body)
        _ask(attacker, app, "GET", f"/{value}")
        _ask(attacker, app, "GET", "/now")

    attack(once)
    storage.engine.dispose()


def _ask_once(attacker: Attacker) -> None:
    """Ask for the page of the queue of the database that is there now."""
    storage = studies.open_to_write(locate_storage(str(DATABASE)))
    _ask(attacker, make_queue_app(storage, None, is_read_only=False), "GET", "/")
    storage.engine.dispose()


def _ask(attacker: Attacker, app: Any, method: str, path: str, body: bytes = b"") -> None:
    """Ask the page of the queue; it may refuse."""
    environ: dict[str, Any] = {
        "PATH_INFO": path.encode(errors="surrogatepass").decode("latin-1"),
        "REQUEST_METHOD": method,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    setup_testing_defaults(environ)
    errors = environ["wsgi.errors"] = io.StringIO()
    statuses: list[str] = []
    try:
        page = b"".join(app(environ, lambda status, *_: statuses.append(status)))
    except Exception as error:
        attacker.add("traceback", (method, path, body), repr(error))
    else:
        # What Optuna cannot read of a damaged database ends no page in a traceback.
        if not statuses[0].startswith(("2", "3", "4", "503")) or "Traceback" in errors.getvalue():
            attacker.add(statuses[0], (method, path, body), errors.getvalue() or page.decode())
