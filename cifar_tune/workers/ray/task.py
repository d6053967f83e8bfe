"""What runs on the nodes of a Ray cluster: trials, and the desk where they talk to the runner."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import shutil
import tempfile
import threading
import warnings
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cifar_tune.training.records import TrialFiles
from cifar_tune.workers import protocol

if TYPE_CHECKING:
    from cifar_tune.data.cifar10 import LabelledImages
    from cifar_tune.data.search_data import SearchData
    from cifar_tune.models.weights import Weights
    from cifar_tune.workers.kind import Work

POLL_SECONDS = 0.3
"""How often a trial looks at the desk, at the most."""
POSTS_PER_SECOND = 500
"""How many looks of all trials together the desk can take; of more trials each looks less often."""
TOKEN_FILE = ".attempt"
"""In a trial's folder of checkpoints: a worker that finds its attempt there sees the folder."""

Blobs = Mapping[str, npt.NDArray[np.uint8]]
"""Files as bytes, by what they are: a field of ``TrialFiles``."""


@dataclass(frozen=True)
class Placed(protocol.Event):
    """A trial has come to a node.

    Attributes:
        node: Ray's name of the node.
        shares_files: Whether it sees the runner's folder of checkpoints.
    """

    node: str
    host: str
    shares_files: bool


@dataclass(frozen=True)
class Order:
    """What a trial needs besides the images.

    Attributes:
        attempt: One of a kind: a trial that is begun again is another attempt.
        runner: The host whose paths the task has.
        threads: How many threads of PyTorch it has on the processor.
        pause: Seconds between two looks at the desk.
    """

    task: protocol.Task
    work: Work
    attempt: str
    runner: str
    threads: int
    pause: float


class Desk:
    """Where trials leave events and find answers; an actor on the runner's node."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[tuple[str, list[protocol.Event]] | None] = asyncio.Queue()
        self._decisions: dict[str, asyncio.Queue[bool]] = defaultdict(asyncio.Queue)
        self._stopping = False

    async def post(self, attempt: str, events: list[protocol.Event]) -> bool:
        """Leave events, in order; return whether the trial is to save and stop."""
        if events:
            self._events.put_nowait((attempt, events))
        return self._stopping

    async def take(self) -> list[tuple[str, list[protocol.Event]] | None]:
        """Wait for events, and take all; None is what ``wake`` left."""
        taken = [await self._events.get()]
        while not self._events.empty():
            taken.append(self._events.get_nowait())
        return taken

    async def wake(self) -> None:
        """Let ``take`` return at once: what was posted before comes before its None."""
        self._events.put_nowait(None)

    async def decide(self, attempt: str, go_on: bool) -> None:
        """Answer a trial."""
        self._decisions[attempt].put_nowait(go_on)

    async def decision(self, attempt: str) -> bool:
        """Wait for an answer."""
        return await self._decisions[attempt].get()

    async def forget(self, attempt: str) -> None:
        """Forget an attempt that has ended."""
        self._decisions.pop(attempt, None)

    async def stop(self) -> None:
        """Tell all trials to save and stop, at their next look."""
        self._stopping = True


class _DeskChannel:
    """A trial's line to the runner; see ``Channel``. One thread posts, so order is kept."""

    def __init__(self, ray: Any, desk: Any, order: Order, *, shares_files: bool) -> None:
        self._ray = ray
        self._desk = desk
        self._order = order
        self._shares_files = shares_files
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._urgent = threading.Event()
        self._lock = threading.Lock()
        self._pending: list[protocol.Event] = []
        self.final: protocol.Event | None = None
        self._thread = threading.Thread(target=self._post, daemon=True)
        self._thread.start()

    def send(self, event: protocol.Event) -> None:
        """See ``Channel``. The last event goes with the task's result, not by the desk."""
        if isinstance(event, protocol.Ended):
            self.final = event
            return
        if isinstance(event, protocol.Started):
            event = replace(event, shares_files=self._shares_files)
        with self._lock:
            self._pending.append(event)
        if not isinstance(event, protocol.Stepped):
            self._urgent.set()

    def decide(self) -> bool:
        """See ``Channel``."""
        return bool(self._ask(self._desk.decision.remote(self._order.attempt)))

    def should_stop(self) -> bool:
        """See ``Channel``."""
        return self._stopping.is_set()

    def close(self) -> None:
        """Return once the desk has all."""
        self._closing.set()
        self._urgent.set()
        self._thread.join()

    def _post(self) -> None:
        while True:
            self._urgent.wait(self._order.pause)
            self._urgent.clear()
            is_last = self._closing.is_set()
            with self._lock:
                events, self._pending = self._pending, []
            if self._ask(self._desk.post.remote(self._order.attempt, events)):
                self._stopping.set()
            if is_last:
                return

    def _ask(self, answer: Any) -> Any:
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayError:
            # The runner is gone; its next one goes on from the last checkpoint.
            os._exit(1)


def train(refs: list[Any], weights: list[Any], desk: Any) -> tuple[protocol.Event | None, Blobs]:
    """Train a trial on this node.

    Args:
        refs: References of the order and of the images.
        weights: The reference of the pretrained weights; empty where the trial has none.
        desk: Where it leaves events.

    Returns:
        How it ended, None if without a word, and the files that it made.
    """
    import ray
    import torch

    order, data = ray.get(refs)
    task: protocol.Task = order.task
    torch.set_num_threads(order.threads)
    device = torch.device("cuda:0" if ray.get_gpu_ids() else "cpu")
    folder, shares_files = _checkpoints(order)
    channel = _DeskChannel(ray, desk, order, shares_files=shares_files)
    node = ray.get_runtime_context().get_node_id()
    channel.send(Placed(task.number, node, platform.node(), shares_files))
    made_here = _own_root() / f"made-by-{order.attempt}"  # is there only while a file is in it
    here = {kind: made_here / kind for kind in task.files.made}
    features = task.files.features if shares_files else None
    files = TrialFiles(**here, checkpoints=folder, features=features)
    try:
        with warnings.catch_warnings():
            # What all tasks of a node share is read-only, and nothing writes to it.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            materials = _open(data, ray.get(weights))
            order.work(replace(task, files=files), materials, device, channel)
        blobs = {kind: np.fromfile(path, np.uint8) for kind, path in here.items() if path.exists()}
    finally:
        shutil.rmtree(made_here, ignore_errors=True)
        channel.close()
    if folder is not None and not shares_files and _is_over(channel.final):
        shutil.rmtree(folder, ignore_errors=True)
    return channel.final, blobs


def _is_over(event: protocol.Event | None) -> bool:
    """Return whether the trial is not to go on from its checkpoints."""
    if isinstance(event, protocol.Failed):
        return event.kind not in (protocol.REFUSED, protocol.OUT_OF_MEMORY)
    return isinstance(event, protocol.Finished)


def _checkpoints(order: Order) -> tuple[Path | None, bool]:
    """Return where the trial keeps its checkpoints, and whether that is the runner's own folder.

    A node that does not see it has a folder of its own: a trial whose worker died, but not its
    node, goes on from there.
    """
    folder = order.task.files.checkpoints
    if folder is None:
        return None, True
    with suppress(OSError):
        if (folder / TOKEN_FILE).read_text(encoding="utf-8") == order.attempt:
            return folder, True
    identity = hashlib.sha256(f"{order.runner}:{folder}".encode()).hexdigest()[:32]
    return _own_root() / identity, False


def _own_root() -> Path:
    """Return a folder of this node for files that its tasks have alone."""
    root = Path(tempfile.gettempdir(), f"cifar-tune-{os.getuid()}")
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    if root.lstat().st_uid != os.getuid():  # put there by somebody else
        root = Path(tempfile.mkdtemp(prefix="cifar-tune-"))
    return root


# --- what trials learn from ---------------------------------------------------------------------


def pack_data(data: SearchData) -> SearchData:
    """Return the images as Ray shares them between the tasks of a node: plain arrays."""

    def plain(part: LabelledImages) -> LabelledImages:
        images, labels = np.asarray(part.images), np.asarray(part.labels)
        return replace(part, images=images, labels=labels)

    validation = None if data.validation is None else plain(data.validation)
    return replace(data, train=plain(data.train), validation=validation)


def pack_weights(weights: Weights) -> Weights:
    """Return pretrained weights likewise, with arrays in the place of tensors."""
    arrays: Any = {name: tensor.numpy() for name, tensor in weights.tensors.items()}
    return replace(weights, tensors=arrays)


def _open(data: SearchData, packed: list[Weights]) -> protocol.Materials:
    import torch

    weights = {}
    for pretrained in packed:
        arrays: Mapping[str, Any] = pretrained.tensors
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        weights[pretrained.name] = replace(pretrained, tensors=tensors)
    return protocol.Materials(data, weights, Path())
