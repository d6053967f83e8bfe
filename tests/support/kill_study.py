"""Runs a study while killing its runner and its workers at random moments, and checks the record.

    python tests/support/kill_study.py --kills 50 --workers 2

The same study is then run undisturbed into another storage, and the two are compared trial by
trial. Ends with 1 if anything is lost, duplicated, left over or different.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import invariants
import optuna
from optuna.trial import TrialState
from processes import KEEP_BEST, LEAVE_SECONDS, Runner, kill_process, named_trials, write_study

KINDS = {"runner": 6, "worker": 7, "both": 3, "SIGTERM": 2, "SIGINT": 2}
"""How often each kind of kill is made, in proportion. ``both``: the runner and all workers."""
MORE_TRIALS = 8
WORKER_SECONDS = 20.0
END_RUNS = 6
"""Undisturbed runs that may be needed at the end: a trial that failed is run by the next one."""


@dataclass
class Tally:
    """What was done to a study."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    slowest_leave_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


@dataclass
class Torment:
    """Kills runs of one study until enough kills were made.

    Args:
        arguments: of ``cifar-tune`` for a run.
        lengthen: called when the study was done before that; gives it more trials.
    """

    folder: Path
    arguments: tuple[str, ...]
    random: random.Random
    lengthen: Callable[[], None]
    say: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)

    def run(self, kills: int) -> None:
        """Make so many kills, then let the study end."""
        while self.tally.kills.total() < kills:
            code = self._run_and_kill(kills)
            if code == 0 and self.tally.kills.total() < kills:
                self.lengthen()
        for _ in range(END_RUNS):
            if self._end(self._start(), "undisturbed") == 0:
                return
        self.tally.faults.append(f"the study does not end in {END_RUNS} undisturbed runs")

    def _run_and_kill(self, kills: int) -> int | None:
        """One run; its exit code, or None if it was ended by a kill."""
        runner = self._start()
        while self.tally.kills.total() < kills and self._reach_a_moment(runner):
            if not self._kill(runner):
                return None
        return self._end(runner, "undisturbed")

    def _start(self) -> Runner:
        self.tally.starts += 1
        return Runner(self.folder, *self.arguments)

    def _reach_a_moment(self, runner: Runner) -> bool:
        """Wait for a random while; False if the run ended meanwhile."""
        if self.random.random() < 0.2:
            time.sleep(self.random.uniform(0.0, 4.0))
        else:
            # Counted in lines printed, so that a slow machine is killed at work too.
            lines = len(runner.lines) + self.random.randint(1, 10)
            runner.wait_for(lambda: len(runner.lines) >= lines, 120.0)
            time.sleep(self.random.uniform(0.0, 1.5))
        return runner.is_running()

    def _kill(self, runner: Runner) -> bool:
        """Make a kill of a random kind; whether the run goes on."""
        kind = self.random.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "worker" and not runner.wait_for(lambda: bool(runner.workers()), WORKER_SECONDS):
            kind = "runner"
        workers = runner.workers()
        if not runner.is_running() or (kind == "worker" and not workers):
            return True  # there was nothing to kill
        self.tally.kills[kind] += 1
        last = runner.lines[-1] if runner.lines else "nothing was printed yet"
        self.say(f"kill {self.tally.kills.total()}: {kind}, after: {last.strip()[:90]}")
        if kind == "worker":
            kill_process(self.random.choice(workers))
            return True
        start = time.monotonic()
        if kind in ("runner", "both"):
            for one in workers if kind == "both" else ():
                kill_process(one)
            runner.send(signal.SIGKILL)
            self._end(runner, kind)
        else:
            runner.send(signal.Signals[kind])
            self._end(runner, kind)
            seconds = time.monotonic() - start
            self.tally.slowest_leave_seconds = max(self.tally.slowest_leave_seconds, seconds)
        return False

    def _end(self, runner: Runner, kind: str) -> int:
        """Wait for the end of a run and check how it ended."""
        allowed = {
            "runner": (-signal.SIGKILL,),
            "both": (-signal.SIGKILL,),
            # Before the command has begun to listen, and after it has done its work.
            "SIGTERM": (130, -signal.SIGTERM, 0, 1),
            "SIGINT": (130, -signal.SIGINT, 0, 1),
            "undisturbed": (0, 1),
        }
        try:
            code = runner.end(LEAVE_SECONDS if kind != "undisturbed" else 1800.0)
        except TimeoutError as error:
            self.tally.faults.append(f"{kind}: {error}")
            return -1
        if code not in allowed[kind]:
            self.tally.faults.append(f"{kind}: ended with exit code {code}:\n{runner.text}")
        if "Traceback" in runner.text:
            self.tally.faults.append(f"{kind}: printed a traceback:\n{runner.text}")
        return code


@dataclass(frozen=True)
class Verdict:
    """What became of a study that was killed: all lists are to be empty."""

    trials: int
    restarts: int
    deaths: int
    failed: int
    lost: list[str]
    duplicated: list[str]
    differing: list[str]
    other: list[str]

    def is_good(self) -> bool:
        """Whether every invariant holds."""
        return not (self.lost or self.duplicated or self.differing or self.other)


def judge(killed: optuna.Study, quiet: optuna.Study, folder: Path, sampled: int) -> Verdict:
    """Check the record of a killed study against an undisturbed one, with plain Optuna.

    Args:
        folder: that holds the killed study's files.
        sampled: trials that were to be sampled.
    """
    everyone = killed.get_trials(deepcopy=False)
    restarts = [one for trial in everyone for one in trial.user_attrs.get("restarts", ())]
    failed = [trial for trial in everyone if trial.state == TrialState.FAIL]
    unlike = invariants.differences(killed, quiet)
    other = invariants.count_faults(killed, named_trials(), sampled)
    other += [
        f"trial {trial.number} failed: {trial.user_attrs.get('failure')}"
        for trial in failed
        if trial.user_attrs.get("failure", {}).get("kind") != "died"
    ]
    other += invariants.weights_faults(killed, folder, KEEP_BEST)
    other += invariants.leftovers(folder)
    for path in folder.rglob("*.db"):
        other += invariants.database_faults(path)
    return Verdict(
        trials=len(everyone),
        restarts=len(restarts),
        deaths=sum("died" in one for one in restarts),
        failed=len(failed),
        lost=[line for line in unlike if line.endswith("is lost")],
        duplicated=invariants.duplicates(killed),
        differing=[line for line in unlike if not line.endswith("is lost")]
        + invariants.weights_differences(killed, quiet),
        other=other,
    )


def kill_study(
    folder: Path,
    kills: int,
    workers: str,
    seed: int,
    storage: str | None,
    say: Callable[[str], None],
) -> bool:
    """Kill a study, run it again undisturbed, compare the two and print what was found.

    Args:
        folder: empty, for all files.
        storage: of the killed study; None takes a SQLite file in the folder.

    Returns:
        Whether every invariant holds.
    """
    start = time.monotonic()
    trials = max(kills // 2, 4)
    # In a database of the user's, no other study has this name.
    file = folder / f"kills-{seed}-{os.getpid()}.toml"
    write_study(file, trials)

    def lengthen() -> None:
        nonlocal trials
        trials += MORE_TRIALS
        write_study(file, trials)

    places = {name: folder / name for name in ("killed", "quiet")}
    for place in places.values():
        place.mkdir()
    url = storage or str(places["killed"] / "studies.db")
    arguments = ("study", "run", str(file), "--workers", workers, "--storage")
    torment = Torment(places["killed"], (*arguments, url), random.Random(seed), lengthen, say)
    torment.run(kills)
    say("the same study, undisturbed")
    quiet_url = str(places["quiet"] / "studies.db")
    quiet = Torment(places["quiet"], (*arguments, quiet_url), random.Random(seed), lengthen, say)
    quiet.run(0)
    name = f"{file.stem}:quick"
    studies = [invariants.read_study(one, name) for one in (url, quiet_url)]
    verdict = judge(studies[0], studies[1], places["killed"], trials)
    faults = torment.tally.faults + quiet.tally.faults
    _print(verdict, torment.tally, faults, say)
    say(f"seed {seed}, workers {workers}, {time.monotonic() - start:.0f} s")
    return verdict.is_good() and not faults


def _print(verdict: Verdict, tally: Tally, faults: list[str], say: Callable[[str], None]) -> None:
    problems = [*verdict.lost, *verdict.duplicated, *verdict.differing, *verdict.other, *faults]
    for line in problems:
        say(f"FAULT: {line}")
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.kills.items()))
    say(f"{tally.kills.total()} kills ({kinds}), {tally.starts} runs")
    say(
        f"{verdict.trials} trials, {verdict.restarts} restarts recorded, {verdict.deaths} of them "
        f"deaths of workers, {verdict.failed} trials failed after four deaths and run again"
    )
    say(
        f"lost {len(verdict.lost)}, duplicated {len(verdict.duplicated)}, differing "
        f"{len(verdict.differing)}, other faults {len(verdict.other) + len(faults)}"
    )
    say(f"slowest end after SIGTERM or SIGINT: {tally.slowest_leave_seconds:.1f} s")


def main() -> int:
    """Read the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many (50)")
    parser.add_argument("--workers", default="2", help="as for cifar-tune study run (2)")
    parser.add_argument("--storage", help="database URL for the killed study (a SQLite file)")
    parser.add_argument("--seed", type=int, help="of the random moments (drawn)")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    given = parser.parse_args()
    seed = random.randrange(2**31) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="kill-study-"))
    say = functools.partial(print, flush=True)
    say(f"{given.kills} kills, seed {seed}, in {folder}")
    try:
        is_good = kill_study(folder, given.kills, given.workers, seed, given.storage, say)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sys.exit(main())
