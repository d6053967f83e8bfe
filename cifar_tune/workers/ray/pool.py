"""Workers on a Ray cluster: each trial is a task of Ray's, with the resources of the study file."""

from __future__ import annotations

import platform
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_tune.errors import InputError, StorageError, WeightsError
from cifar_tune.files import replacing
from cifar_tune.training.records import TrialFiles
from cifar_tune.workers.protocol import (
    REFUSED,
    Died,
    Event,
    Failed,
    Finished,
    Materials,
    Started,
    Stepped,
    Stopped,
    Task,
)
from cifar_tune.workers.ray import task as ray_task
from cifar_tune.workers.ray.cluster import (
    check_resources,
    connect,
    count_places,
    disconnect,
    explain_death,
    make_train,
    on_node,
)
from cifar_tune.workers.ray.task import TOKEN_FILE, Blobs, Order, Placed

if TYPE_CHECKING:
    from cifar_tune.config.schema import Resources
    from cifar_tune.workers.train_task import Work

TAIL_LINES = 20
COUNT_SECONDS = 3.0
"""How often nodes that joined or left are looked for."""
DESK_SECONDS = 120.0
"""How long the desk may take to begin: a process of Ray's that imports this package."""


@dataclass
class _Flight:
    """A trial that was handed to Ray.

    Attributes:
        order: what keeps the task's arguments alive.
        place: where it runs; None while it waits for its resources.
        is_cancelled: whether it was ended before it had begun.
        lines: what it said last.
    """

    task: Task
    attempt: str
    result: Any
    order: Any
    place: Placed | None = None
    has_started: bool = False
    is_cancelled: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


class RayPool:
    """Tasks of Ray's, as many at once as the cluster has room for.

    Args:
        address: of the cluster; None begins one on this machine, which ends with the pool.
        resources: of each trial.
        work: what is done with a task.

    Raises:
        InputError: Ray is not installed, there is no such cluster, or none of its nodes has the
            resources.
    """

    def __init__(
        self, materials: Materials, address: str | None, resources: Resources, work: Work
    ) -> None:
        self.slots = 1
        self.share = resources.gpus if 0 < resources.gpus < 1 else 1.0
        self._resources = resources
        self._work = work
        self._flights: dict[str, _Flight] = {}  # by attempt
        self._ready: deque[Event] = deque()
        self._kept_at: dict[int, str] = {}  # nodes with checkpoints that no other node sees
        self._next_count = 0.0
        self._desk: Any = None
        data = ray_task.pack_data(materials.data)
        weights = {name: ray_task.pack_weights(one) for name, one in materials.weights.items()}
        self._ray, self._began = connect(address, _size(data, weights))
        try:
            check_resources(self._ray.nodes(), resources)
            self._count()
            # Each node fetches them once, and its tasks share them.
            self._data = self._ray.put(data)
            self._weights = {name: self._ray.put(one) for name, one in weights.items()}
            # A process that has used one GPU cannot be told to use another.
            reuse = {"max_calls": 1} if resources.gpus else {"max_calls": 0}
            self._train = self._ray.remote(**reuse)(make_train())
            self._open_desk()
        except BaseException:
            self.close()
            raise

    # --- what the runner asks for ---

    def start(self, task: Task) -> None:
        """Train a trial in a free slot; see ``Pool``."""
        attempt = uuid.uuid4().hex
        task = replace(task, files=_absolute(task.files))
        if task.files.checkpoints is not None:
            path = task.files.checkpoints / TOKEN_FILE
            with replacing(path, len(attempt), StorageError) as temporary:
                temporary.write_text(attempt, encoding="utf-8")
        order = Order(
            task,
            self._work,
            attempt,
            platform.node(),
            threads=max(1, int(self._resources.cpus)),
            pause=max(ray_task.POLL_SECONDS, self.slots / ray_task.POSTS_PER_SECOND),
        )
        kept = self._ray.put(order)
        named = task.config.weights
        weights = [self._weights[named]] if named in self._weights else []
        options = {
            "num_cpus": self._resources.cpus,
            "num_gpus": self._resources.gpus,
            "max_retries": 0,  # the runner does that, and keeps a record of it
            "retry_exceptions": False,
            "name": f"trial {task.number}",
            "scheduling_strategy": self._strategy(task.number),
        }
        # References within lists are not fetched before the task has looked at its versions.
        result = self._train.options(**options).remote([kept, self._data], weights, self._desk)
        self._flights[attempt] = _Flight(task, attempt, result, kept)

    def next_event(self, timeout: float) -> Event | None:
        """The next event; see ``Pool``."""
        deadline = time.monotonic() + timeout
        self._count()
        while not self._ready:
            left = max(deadline - time.monotonic(), 0.0)
            if not self._listen(left) and left == 0.0:
                return None
        return self._ready.popleft()

    def decide(self, number: int, *, go_on: bool) -> None:
        """Answer a trial; see ``Pool``."""
        for flight in self._flights.values():
            if flight.task.number == number:
                self._desk.decide.remote(flight.attempt, go_on)

    def stop(self) -> None:
        """Ask all trials to save and stop; see ``Pool``."""
        self._desk.stop.remote()
        for flight in self._flights.values():
            if not flight.has_started:  # nor has it anything to save
                flight.is_cancelled = True
                self._ray.cancel(flight.result, force=True)

    def close(self) -> None:
        """End all trials at once; see ``Pool``."""
        if not self._ray.is_initialized():
            return
        for flight in self._flights.values():
            self._ray.cancel(flight.result, force=True)
        self._flights.clear()
        if self._desk is not None:
            self._ray.kill(self._desk)
            self._desk = None
        if self._began:
            disconnect(self._ray)

    # --- what Ray says ---

    def _open_desk(self) -> None:
        node = self._ray.get_runtime_context().get_node_id()
        here = on_node(node, or_elsewhere=False)
        desk = self._ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)(ray_task.Desk)
        self._desk = desk.remote()
        try:
            self._ray.get(self._desk.post.remote("", []), timeout=DESK_SECONDS)
        except self._ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()[-1]
            raise InputError(f"--workers ray: Ray's processes cannot talk to us: {said}") from error
        self._taking = self._desk.take.remote()

    def _listen(self, timeout: float) -> bool:
        """Wait for one thing to happen; whether it did."""
        results = {flight.result: flight for flight in self._flights.values()}
        happened, _ = self._ray.wait([self._taking, *results], num_returns=1, timeout=timeout)
        for one in happened:
            if one == self._taking:
                self._take()
            else:
                self._end(results[one])
        return bool(happened)

    def _take(self) -> bool:
        """Take what lies at the desk; whether the desk was woken."""
        try:
            taken = self._ray.get(self._taking)
        except self._ray.exceptions.RayError:
            self._replace_desk()
            return True
        self._taking = self._desk.take.remote()
        for attempt, events in (post for post in taken if post is not None):
            if attempt in self._flights:  # else of an attempt that was given up
                for event in events:
                    self._note(self._flights[attempt], event)
        return None in taken

    def _note(self, flight: _Flight, event: Event) -> None:
        if not isinstance(event, Stepped):
            flight.lines.append(f"{time.strftime('%H:%M:%S')} {event}")
        if isinstance(event, Placed):
            flight.place = event
            return
        flight.has_started |= isinstance(event, Started)
        self._ready.append(event)

    def _end(self, flight: _Flight) -> None:
        """A task has ended, one way or another."""
        self._desk.wake.remote()
        while not self._take():  # all that it said before comes first
            pass
        if self._flights.pop(flight.attempt, None) is None:
            return  # it was given up together with the desk
        self._desk.forget.remote(flight.attempt)
        number, place = flight.task.number, flight.place
        if place is not None and not place.shares_files:
            self._kept_at[number] = place.node
        try:
            result = self._ray.get(flight.result)
        except self._ray.exceptions.RayError as error:
            where = f" (node {place.host})" if place is not None else ""
            reason = explain_death(self._ray, error) + where
            event: Event = Died(number, reason, "\n".join(flight.lines))
            if flight.is_cancelled:
                event = Stopped(number)
        else:
            event = _read(flight, result)
        self._ready.append(event)

    def _replace_desk(self) -> None:
        """The desk died, and with it the trials' way to say anything: they are begun again."""
        for flight in self._flights.values():
            self._ray.cancel(flight.result, force=True)
            reason = "the process of Ray's that it talked to died"
            self._ready.append(Died(flight.task.number, reason, "\n".join(flight.lines)))
        self._flights.clear()
        self._open_desk()

    # --- nodes ---

    def _strategy(self, number: int) -> Any:
        """Where a trial is to run: anywhere, unless one node alone has its checkpoints."""
        node = self._kept_at.pop(number, None)
        return "SPREAD" if node is None else on_node(node, or_elsewhere=True)

    def _count(self) -> None:
        """Count the slots again, now and then."""
        if time.monotonic() < self._next_count:
            return
        self._next_count = time.monotonic() + COUNT_SECONDS
        with suppress(self._ray.exceptions.RayError):  # a head that is busy: as many as before
            self.slots = max(1, count_places(self._ray.nodes(), self._resources))


def _size(data: Any, weights: Mapping[str, Any]) -> int:
    """Bytes of images and pretrained weights."""
    arrays = [part.images for part in (data.train, data.validation) if part is not None]
    arrays += [one for *_, tensors in weights.values() for one in tensors.values()]
    return sum(int(one.nbytes) for one in arrays)


def _absolute(files: TrialFiles) -> TrialFiles:
    """A task has another current folder than the runner."""
    paths = {kind: path and path.absolute() for kind, path in vars(files).items()}
    return TrialFiles(**paths)


def _read(flight: _Flight, result: str | tuple[Event | None, Blobs]) -> Event:
    """How a task ended that came to its end; its files are written where the runner has them.

    Raises:
        WeightsError, StorageError: they cannot be.
    """
    number = flight.task.number
    if isinstance(result, str):
        return Failed(number, REFUSED, result, {"error": "InputError"})
    event, blobs = result
    if event is None:
        return Died(number, "its task ended without a word", "\n".join(flight.lines))
    if isinstance(event, Finished):
        places = flight.task.files.made
        for kind, blob in blobs.items():
            error_type = WeightsError if kind == "weights" else StorageError
            with replacing(places[kind], blob.nbytes, error_type) as temporary:
                np.asarray(blob).tofile(temporary)
    return event
