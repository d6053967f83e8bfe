"""What the tests share: the command line as a function, and a study small enough to run often."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import FINETUNE, TINY, Answer, Cli, Compute, StopAfter
from copies import Full, stand_in
from dashboard_client import Live, copy_database, serving
from places import TESTS
from scripted import EPOCHS, Notes, Run, ScriptedPool, scripted_workers
from worker_trials import Reference, load_materials, make_reference, single_thread

from cifar_tune.cli.app import main
from cifar_tune.config.schema import NoPruner, Random
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import SearchData, load_search_data
from cifar_tune.evaluation.activations import compute_activations
from cifar_tune.search import costs
from cifar_tune.search.outcome import StudyOutcome
from cifar_tune.search.runner import Runner, RunOptions
from cifar_tune.storage.location import StorageLocation, locate_storage
from cifar_tune.training.pictures.activation_record import ActivationRecord
from cifar_tune.workers import train_task
from cifar_tune.workers.protocol import Materials

# For processes too: the check at a study's first run takes longer than a tiny study.
os.environ["CIFAR_TUNE_PRECISION"] = "fp32"


@pytest.fixture
def draws_pictures() -> bool:
    """Whether trials in this process draw theirs, which takes longer than to train a tiny one."""
    return False


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a storage of its own, where little is measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIFAR_TUNE_STORAGE", raising=False)
    # A worker process takes seconds to start; what is the same for all kinds is tested with this.
    monkeypatch.setenv("CIFAR_TUNE_WORKERS", "inline")
    monkeypatch.setenv("CIFAR_TUNE_DATA", str(tmp_path / "no-data"))
    # A plan's few seconds of measuring would be most of the time of a tiny study.
    monkeypatch.setattr(costs, "MEASURE_SECONDS", 0.1)
    monkeypatch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
    return tmp_path


@pytest.fixture
def cli(
    own_folder: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    draws_pictures: bool,
) -> Cli:
    """Run ``cifar-tune`` in this process, in a folder of its own."""
    if not draws_pictures:
        monkeypatch.setattr(train_task, "draw_pictures", lambda *_: None)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        printed = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return Answer(code, printed.out, printed.err)

    return run


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> StopAfter:
    """Runs that begin meanwhile get, after so many steps of training, what Ctrl-C sends."""

    @contextmanager
    def stop(steps: int, sent: signal.Signals = signal.SIGINT) -> Iterator[None]:
        left = [steps]

        run_to_the_end = Runner.run

        def run(runner: Runner) -> StudyOutcome:
            observer = runner.observer
            stepped = observer.stepped

            def count(number: int, done: int) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), sent)
                stepped(number, done)

            observer.stepped = count  # type: ignore[method-assign]
            return run_to_the_end(runner)

        with monkeypatch.context() as patch:
            patch.setattr(Runner, "run", run)
            patch.setattr("cifar_tune.workers.train_task.STEPPED_SECONDS", 0.0)
            yield

    return stop


@pytest.fixture
def in_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``cifar-tune`` in a process of its own."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cifar_tune", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture(scope="session")
def bundled() -> SearchData:
    """The bundled training and validation images."""
    return load_search_data("bundled", Path())


@pytest.fixture
def make_config() -> Callable[..., TrialConfig]:
    """A tiny trial of the dropout study's quick profile, with other settings where given."""

    def make(**settings: Any) -> TrialConfig:
        tiny = {"train_images": 64, "validation_images": 50, "batch_size": 32, "epochs": 2}
        params = {"dropout_rate": 0.3, "learning_rate": 0.001, "augmentation_strength": 1.0}
        seed = settings.pop("seed", 7)
        params |= {key: settings.pop(key) for key in list(settings) if key in params}
        spec = resolve(load_study_file("dropout"), "quick", tiny | settings)
        return spec.config(params, seed)

    return make


@pytest.fixture
def spec() -> StudySpec:
    """Four named trials and a random search without pruning, of two epochs."""
    quick = resolve(load_study_file("dropout"), "quick", {"epochs": EPOCHS})
    return quick.with_profile(sampler=Random(name="random"), pruner=NoPruner(name="none"), trials=0)


@pytest.fixture
def run(
    spec: StudySpec, bundled: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run the study with a pool, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def go(
        pool: ScriptedPool, more_trials: int = 0, notes: Notes | None = None, **limits: bool
    ) -> StudyOutcome:
        return Runner(
            spec,
            locate_storage("s.db"),
            scripted_workers(pool, bundled, tmp_path),
            notes or Notes(),  # type: ignore[arg-type]  # __getattr__ has the rest
            RunOptions(more_trials, **limits),
        ).run()

    return go


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Full:
    """A small set of real images that stands for the full CIFAR-10."""
    return stand_in(tmp_path, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of imported images and weights; not there yet."""
    return tmp_path / "root"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address on a server of this machine."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[StorageLocation, str]:
    """Two tiny trials with kept weights: where they are stored, and their study."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(costs, "MEASURE_SECONDS", 0.1)
        patch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
        patch.setenv("CIFAR_TUNE_WORKERS", "inline")
        command = [
            "study",
            "run",
            "transfer",
            "--storage",
            "s.db",
            "--only",
            "transfer/finetune",
            "--only",
            "transfer/model-b",
            "--epochs",
            "1",
            *TINY,
        ]
        with pytest.raises(SystemExit) as end:
            main(command)
    assert end.value.code == 0
    (weights,) = (folder / "s-weights").iterdir()
    with closing(sqlite3.connect(folder / "s.db")) as database:
        ((name,),) = database.execute("SELECT study_name FROM studies")
    assert len(list(weights.iterdir())) == 2
    return locate_storage(str(folder / "s.db")), name


@pytest.fixture
def trained_copy(trained: tuple[StorageLocation, str], tmp_path: Path) -> Path:
    """A copy of that database, to be changed."""
    return copy_database(trained[0], tmp_path / "studies.db")


@pytest.fixture
def live(trained_copy: Path) -> Iterator[Live]:
    """The dashboard on it, for this machine, whose user may change things."""
    with serving(trained_copy) as live:
        yield live


@pytest.fixture
def compute(trained: tuple[StorageLocation, str]) -> Compute:
    """The activations that the report is drawn from, of one of the two tiny trials."""

    def run(
        trial: str | None = FINETUNE, images: tuple[str, ...] = (), layers: tuple[str, ...] = ()
    ) -> ActivationRecord:
        return compute_activations(*trained, trial, images, layers, Path("no-data"))

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tests that compare what workers of several kinds compute."""
    with single_thread():
        yield


@pytest.fixture(scope="session")
def materials() -> Materials:
    """The bundled images and weights, as workers have them."""
    return load_materials()


@pytest.fixture(scope="module")
def reference(materials: Materials, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What trials give without any worker."""
    return make_reference(materials, lambda: tmp_path_factory.mktemp("reference"))


def pytest_configure() -> None:
    """Give each of several test processes one core: threads of all on all are many times slower."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start
        torch.set_num_threads(1)


WHOLE_COMMANDS = {"integration", "faults", "search_benchmark"}
"""Folders of tests that run whole studies, or commands in processes of their own."""


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is marked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and run the unit tests first."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in WHOLE_COMMANDS:
            item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)
