"""Workers on a Ray cluster: each trial is a task of Ray's, with the resources of the study file."""

from __future__ import annotations

import platform
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cifar_tune.errors import InputError, StorageError
from cifar_tune.files import replacing
from cifar_tune.training.records import TrialFiles
from cifar_tune.workers.kind import PoolSetup, Work, WorkerChoice
from cifar_tune.workers.protocol import Event, Materials, Stopped, Task
from cifar_tune.workers.ray import cluster
from cifar_tune.workers.ray import task as ray_task
from cifar_tune.workers.ray.running_task import RunningTask
from cifar_tune.workers.ray.task import TOKEN_FILE, Order, Placed

if TYPE_CHECKING:
    from cifar_tune.config.schema import Resources

COUNT_SECONDS = 3.0
"""How often nodes that joined or left are looked for."""
DESK_SECONDS = 120.0
"""How long the desk may take to begin: a process of Ray's that imports this package."""


class RayPool:
    """Tasks of Ray's, as many at once as the cluster has room for.

    Without an address a cluster is begun on this machine, which ends with the pool.

    Raises:
        InputError: Ray is not installed, there is no such cluster, or none of its nodes has the
            resources.
    """

    forms = "ray or ray:ADDRESS"
    has_processes_here = False

    def __init__(
        self, materials: Materials, address: str | None, resources: Resources, work: Work
    ) -> None:
        self.slots = 1
        self.share = resources.gpus if 0 < resources.gpus < 1 else 1.0
        self._resources = resources
        self._work = work
        self._tasks: dict[str, RunningTask] = {}  # by attempt
        self._events: deque[Event] = deque()
        self._kept_at: dict[int, str] = {}  # nodes with checkpoints that no other node sees
        self._next_count = 0.0
        self._desk: Any = None
        data = ray_task.pack_data(materials.data)
        weights = {
            name: ray_task.pack_weights(pretrained)
            for name, pretrained in materials.weights.items()
        }
        self._ray, self._began = cluster.connect(address, _size(data, weights))
        try:
            cluster.check_resources(self._ray.nodes(), resources)
            self._count()
            # Each node fetches them once, and its tasks share them.
            self._data = self._ray.put(data)
            self._weights = {name: self._ray.put(packed) for name, packed in weights.items()}
            # A process that has used one GPU cannot be told to use another.
            reuse = {"max_calls": 1} if resources.gpus else {"max_calls": 0}
            self._train = self._ray.remote(**reuse)(cluster.make_train())
            self._open_desk()
        except BaseException:
            self.close()
            raise

    @classmethod
    def choose(cls, text: str, *_: object) -> WorkerChoice | None:
        """Return a cluster, which decides how many trials it has room for; see ``PoolKind``."""
        return WorkerChoice(cls, None, address=text.partition(":")[2] or None)

    @staticmethod
    def describe(choice: WorkerChoice) -> str:
        """Return the choice in words; see ``PoolKind``."""
        return f"Ray workers ({choice.address or 'a cluster on this machine'})"

    @classmethod
    def begin(cls, choice: WorkerChoice, setup: PoolSetup) -> RayPool:
        """Connect to the cluster; see ``PoolKind``."""
        return cls(setup.materials, choice.address, setup.resources, setup.work)

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
        stored_order = self._ray.put(order)
        name = task.config.weights
        weights = [self._weights[name]] if name in self._weights else []
        options = {
            "num_cpus": self._resources.cpus,
            "num_gpus": self._resources.gpus,
            "max_retries": 0,  # the runner does that, and keeps a record of it
            "retry_exceptions": False,
            "name": f"trial {task.number}",
            "scheduling_strategy": self._strategy(task.number),
        }
        # References within lists are not fetched before the task has looked at its versions.
        result = self._train.options(**options).remote(
            [stored_order, self._data], weights, self._desk
        )
        self._tasks[attempt] = RunningTask(task, attempt, result, stored_order)

    def next_event(self, timeout: float) -> Event | None:
        """Return the next event; see ``Pool``."""
        deadline = time.monotonic() + timeout
        self._count()
        while not self._events:
            left = max(deadline - time.monotonic(), 0.0)
            if not self._listen(left) and left == 0.0:
                return None
        return self._events.popleft()

    def decide(self, number: int, *, go_on: bool) -> None:
        """Answer a trial; see ``Pool``."""
        for running in self._tasks.values():
            if running.number == number:
                self._desk.decide.remote(running.attempt, go_on)

    def stop(self) -> None:
        """Ask all trials to save and stop; see ``Pool``."""
        self._desk.stop.remote()
        for running in self._tasks.values():
            if not running.has_started:  # nor has it anything to save
                running.is_cancelled = True
                self._ray.cancel(running.result, force=True)

    def close(self) -> None:
        """End all trials at once; see ``Pool``."""
        if not self._ray.is_initialized():
            return
        for running in self._tasks.values():
            self._ray.cancel(running.result, force=True)
        self._tasks.clear()
        if self._desk is not None:
            self._ray.kill(self._desk)
            self._desk = None
        if self._began:
            cluster.disconnect(self._ray)

    # --- what Ray says ---

    def _open_desk(self) -> None:
        node = self._ray.get_runtime_context().get_node_id()
        here = cluster.on_node(node, or_elsewhere=False)
        desk = self._ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)(ray_task.Desk)
        self._desk = desk.remote()
        try:
            self._ray.get(self._desk.post.remote("", []), timeout=DESK_SECONDS)
        except self._ray.exceptions.RayError as error:
            line = str(error).strip().splitlines()[-1]
            raise InputError(f"--workers ray: Ray's processes cannot be reached: {line}") from error
        self._taking = self._desk.take.remote()

    def _listen(self, timeout: float) -> bool:
        """Wait for one thing to happen; return whether it did."""
        results = {running.result: running for running in self._tasks.values()}
        done, _ = self._ray.wait([self._taking, *results], num_returns=1, timeout=timeout)
        for reference in done:
            if reference == self._taking:
                self._take()
            else:
                self._end(results[reference])
        return bool(done)

    def _take(self) -> bool:
        """Take what lies at the desk; return whether the desk was woken."""
        try:
            taken = self._ray.get(self._taking)
        except self._ray.exceptions.RayError:
            self._replace_desk()
            return True
        self._taking = self._desk.take.remote()
        told = ((post[0], event) for post in taken if post is not None for event in post[1])
        for attempt, event in told:
            if attempt in self._tasks:  # else of an attempt that was given up
                self._tasks[attempt].note(event)
                if not isinstance(event, Placed):
                    self._events.append(event)
        return None in taken

    def _end(self, running: RunningTask) -> None:
        """Take note that a task has ended, one way or another."""
        self._desk.wake.remote()
        while not self._take():  # all that it said before comes first
            pass
        if self._tasks.pop(running.attempt, None) is None:
            return  # it was given up together with the desk
        self._desk.forget.remote(running.attempt)
        place = running.place
        if place is not None and not place.shares_files:
            self._kept_at[running.number] = place.node
        try:
            result = self._ray.get(running.result)
        except self._ray.exceptions.RayError as error:
            where = f" (node {place.host})" if place is not None else ""
            died = running.died(cluster.explain_death(self._ray, error) + where)
            self._events.append(Stopped(running.number) if running.is_cancelled else died)
        else:
            self._events.append(running.read(result))

    def _replace_desk(self) -> None:
        """Give up all tasks: the desk died, and with it their way to tell anything."""
        for running in self._tasks.values():
            self._ray.cancel(running.result, force=True)
            self._events.append(running.died("Ray's process for it died"))
        self._tasks.clear()
        self._open_desk()

    # --- nodes ---

    def _strategy(self, number: int) -> Any:
        """Return where a trial is to run: anywhere, unless one node alone has its checkpoints."""
        node = self._kept_at.pop(number, None)
        return "SPREAD" if node is None else cluster.on_node(node, or_elsewhere=True)

    def _count(self) -> None:
        """Count the slots again, now and then."""
        if time.monotonic() < self._next_count:
            return
        self._next_count = time.monotonic() + COUNT_SECONDS
        with suppress(self._ray.exceptions.RayError):  # a head that is busy: as many as before
            self.slots = max(1, cluster.count_places(self._ray.nodes(), self._resources))


def _size(data: Any, weights: Mapping[str, Any]) -> int:
    """Return the bytes of packed images and pretrained weights."""
    arrays = [part.images for part in (data.train, data.validation) if part is not None]
    arrays += [array for packed in weights.values() for array in packed.tensors.values()]
    return sum(int(array.nbytes) for array in arrays)


def _absolute(files: TrialFiles) -> TrialFiles:
    """Return the files with absolute paths: a task has another current folder than the runner."""
    paths = {kind: path and path.absolute() for kind, path in vars(files).items()}
    return TrialFiles(**paths)
