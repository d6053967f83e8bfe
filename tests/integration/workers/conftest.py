"""The kinds of workers, each of which does the same."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import worker_trials
from worker_pools import MakePool, open_pool
from worker_trials import Configs

from cifar_tune.config.trial import TrialConfig
from cifar_tune.workers.kind import Work
from cifar_tune.workers.protocol import Materials, Pool
from cifar_tune.workers.train_task import work


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster with room for two trials, which the pools of these tests find."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'cifar-tune[ray]'")
    import ray

    before = signal.getsignal(signal.SIGTERM)
    options = {"num_cpus": 2, "object_store_memory": 400_000_000, "log_to_driver": False}
    ray.init(address="local", include_dashboard=False, logging_level="ERROR", **options)
    signal.signal(signal.SIGTERM, before)
    # Its workers cannot import that module, so what is defined in it is sent along.
    ray.cloudpickle.register_pickle_by_value(worker_trials)
    yield
    ray.cloudpickle.unregister_pickle_by_value(worker_trials)
    ray.shutdown()


@pytest.fixture(params=["inline", "local", "ray"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return name


@pytest.fixture
def make_pool(kind: str, materials: Materials, tmp_path: Path) -> Iterator[MakePool]:
    """A pool of the kind, which is closed at the end."""
    with ExitStack() as stack:

        def make(work: Work = work) -> Pool:
            pool = open_pool(kind, materials, tmp_path, work)
            stack.callback(pool.close)
            return pool

        yield make


@pytest.fixture
def config(make_config: Configs) -> TrialConfig:
    """Two epochs from pretrained weights."""
    return make_config(weights="tiny-imagenet-32")
