"""A Ray cluster: begun on this machine or connected to, and how many trials it has room for."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cifar_tune.errors import InputError

if TYPE_CHECKING:
    from cifar_tune.config.schema import Resources

PROBE_SECONDS = 5.0
"""How long the head of a cluster may take to accept a connection."""
SPARE_BYTES = 300_000_000
"""Memory of a cluster begun here for results on their way, beside twice what trials learn from."""


def connect(address: str | None, held_bytes: int) -> tuple[Any, bool]:
    """Connect this process to a cluster, unless it is connected already.

    Args:
        address: ``HOST:PORT`` of the cluster's head, or ``auto`` for the one that this machine is
            in; None begins one on this machine, which ends with this process.
        held_bytes: How many bytes the trials learn from.

    Returns:
        Ray, and whether a connection was made.

    Raises:
        InputError: Ray is not installed, there is no such cluster, or it is not one that this
            process can use.
    """
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {"include_dashboard": False}
        options |= {"object_store_memory": 2 * held_bytes + SPARE_BYTES}
    with _environment(address):
        ray = _import_ray()
        if ray.is_initialized() and address is None:
            return ray, False
        if address is not None:
            _check_address(address)
        try:
            with _own_signals():
                _begin(ray, address, options)
        except Exception as error:
            what = "--workers ray" if address is None else f"--workers ray:{address}"
            raise InputError(f"{what}: Ray cannot be used: {_in_one_line(error)}") from error
    _set_announcements(ray, are_printed=False)
    return ray, True


def _begin(ray: Any, address: str | None, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:
        # On a machine that is busy Ray's processes may take more than its half a minute.
        if address is not None or "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        ray.init(address="local", **options)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "--workers ray: Ray is not installed; expected `pip install 'cifar-tune[ray]'`"
        ) from error
    return ray


@contextmanager
def _environment(address: str | None) -> Iterator[None]:
    """Set what Ray reads as it is imported and begins, unless it is set."""
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to its makers
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of it
    }
    if address is not None:
        wanted["RAY_NUM_REDIS_GET_RETRIES"] = "1"  # of 41 s each, not twenty
        # As of Ray 2.60 a cluster is protected by its user's token as soon as there is one, and a
        # driver that is given an address does not show it by itself.
        is_named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
        if is_named or _has_own_token():
            wanted["RAY_AUTH_MODE"] = "token"
    missing = wanted.keys() - os.environ.keys()
    os.environ.update({key: wanted[key] for key in missing})
    try:
        yield
    finally:
        for key in missing:
            del os.environ[key]


def disconnect(ray: Any) -> None:
    """Take back what ``connect`` did; a cluster that it began ends."""
    ray.shutdown()
    _set_announcements(ray, are_printed=True)


def _set_announcements(ray: Any, *, are_printed: bool) -> None:
    """Keep Ray from announcing every node that dies on standard output, which is ours.

    It has no option for it, but a switch that its debugger uses.
    """
    ray._private.worker._worker_logs_enabled = are_printed


def _check_address(address: str) -> None:
    """Find in seconds what Ray would find in minutes."""
    if address == "auto":
        return
    what = f"--workers ray:{address}"
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise InputError(
            f"{what}: expected ray:HOST:PORT with the port of the cluster's head (6379 unless "
            "`ray start --port` named another), ray:auto, or ray for a cluster on this machine"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"{what}: no Ray cluster answers there: {error}") from error
    if not any(process.info["name"] == "raylet" for process in psutil.process_iter(["name"])):
        raise InputError(
            f"{what}: this machine is not a node of that cluster; expected a cluster that "
            f"`ray start --address={address}` on this machine has joined"
        )


def _has_own_token() -> bool:
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except RuntimeError:  # no home folder
        return False


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM from Ray: the runner has its own way, also while Ray begins."""
    real = signal.signal

    def set_others(number: int, handler: Any) -> Any:
        if number in (signal.SIGINT, signal.SIGTERM):
            return signal.getsignal(number)
        return real(number, handler)

    signal.signal = set_others  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = real


def _in_one_line(error: BaseException) -> str:
    """Return what Ray says, the reason included that its last error hides."""
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        lines = str(cause).split("\n") or [type(cause).__name__]
        # Some of Ray's messages have a whole traceback in them.
        shown = lines[-1:] if "Traceback" in str(cause) else lines
        causes.append(" ".join(" ".join(shown).split())[:400])
        cause = cause.__cause__
    return ": ".join(dict.fromkeys(causes))


def on_node(node: str, *, or_elsewhere: bool) -> Any:
    """Return Ray's way to say on which node a task is to run, or elsewhere where that is gone."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=or_elsewhere)


# --- room ---------------------------------------------------------------------------------------


def count_places(nodes: Iterable[Mapping[str, Any]], wanted: Resources) -> int:
    """Return how many trials fit on the living ones of ``ray.nodes()``, were nothing else there."""
    return sum(_places(node["Resources"], wanted) for node in nodes if node["Alive"])


def _places(has: Mapping[str, float], wanted: Resources) -> int:
    places = _times(has.get("CPU", 0.0), wanted.cpus)
    gpus = has.get("GPU", 0.0)
    if 0 < wanted.gpus < 1:  # a share is of one GPU
        return min(places, int(gpus) * _times(1.0, wanted.gpus))
    return min(places, _times(gpus, wanted.gpus)) if wanted.gpus else places


def _times(has: float, wanted: float) -> int:
    return math.floor(has / wanted + 1e-6)  # 0.3 / 0.1 is a little less than 3


def check_resources(nodes: list[dict[str, Any]], wanted: Resources) -> None:
    """Check that a trial can run somewhere.

    Raises:
        InputError: Ray does not know such resources, or no node has as much.
    """
    asked = f"[profiles.….resources] cpus = {wanted.cpus:g}, gpus = {wanted.gpus:g}"
    if wanted.gpus > 1 and wanted.gpus % 1:
        raise InputError(f"{asked}: expected a whole number of GPUs, or a share below 1")
    if count_places(nodes, wanted):
        return
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cpus, gpus = max(
        ((resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in alive),
        key=lambda has: (min(has[1], wanted.gpus), has[0]),
        default=(0.0, 0.0),
    )
    raise InputError(
        f"{asked}: no node of the Ray cluster has as much; the largest of its {len(alive)} has "
        f"{cpus:g} CPUs and {gpus:g} GPUs"
    )


# --- versions -----------------------------------------------------------------------------------


def make_train() -> Callable[..., Any]:
    """Return the function that Ray runs on a node: ``task.train``, if the node has our versions.

    Its arguments are those of ``task.train``; it returns a text where the node has others. Ray
    sends the code of a function within a function along, so that a node without the package, or
    with one that lacks the module, can say so.
    """
    import torch

    import cifar_tune

    wanted = f"cifar-tune {cifar_tune.__version__}, torch {torch.__version__.partition('+')[0]}"

    def train(refs: list[Any], weights: list[Any], desk: Any) -> Any:
        import platform

        try:
            import torch

            import cifar_tune

            torch_version = torch.__version__.partition("+")[0]
            versions = f"cifar-tune {cifar_tune.__version__}, torch {torch_version}"
        except ImportError as error:
            versions = str(error)
        if versions != wanted:
            return f"node {platform.node()}: {versions}; expected the runner's versions: {wanted}"
        from cifar_tune.workers.ray import task

        return task.train(refs, weights, desk)

    return train


# --- ends ---------------------------------------------------------------------------------------


def explain_death(ray: Any, error: Exception) -> str:
    """Return in words why a task ended that did not come to its end."""
    known = {
        "OutOfMemoryError": "Ray ended its worker because its node was short of memory",
        "NodeDiedError": "its node died",
        "LocalRayletDiedError": "its node died",
        "WorkerCrashedError": "its worker died: it crashed, was killed, or its node is gone",
        "ObjectLostError": "its node died with its result",
    }
    for kind, reason in known.items():
        if isinstance(error, getattr(ray.exceptions, kind)):
            return reason
    cause = getattr(error, "cause", None) or error
    line = (str(cause).strip().splitlines() or [""])[0]
    return f"its task ended with {type(cause).__name__}: {line}"[:300]
