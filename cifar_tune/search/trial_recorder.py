"""Records what workers say of a trial: in Optuna's storage, in files, and for those who look on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cifar_tune.search.observer import Annotator, Observer
from cifar_tune.search.open_study import OpenStudy
from cifar_tune.search.pruners import CompleteTrials, may_prune
from cifar_tune.search.trial_starter import RunningTrial
from cifar_tune.storage import trials
from cifar_tune.storage.artifacts import record_artifacts
from cifar_tune.training.records import EpochMetrics, TrialResult
from cifar_tune.workers.protocol import Started


@dataclass(frozen=True)
class TrialRecorder:
    """Keeps the record of a study's trials, from their beginning to their end.

    Attributes:
        complete: What the pruner compares with.
    """

    open_study: OpenStudy
    complete: CompleteTrials
    observer: Observer
    annotator: Annotator

    def begun(self, running: RunningTrial) -> None:
        """Show that a trial begins, or goes on."""
        self.observer.trial_started(trials.summarize(running.latest()), running.config)

    def started(self, running: RunningTrial, event: Started) -> None:
        """Record where, and from which epoch on, a trial is trained."""
        running.is_training = True
        running.log.append(f"started on {event.provenance['host']}")
        for refusal in event.refusals:
            running.log.append(refusal)
            self.note(running, f"checkpoint not used: {refusal}")
        if "device" not in running.provenance:
            running.provenance |= event.provenance
            running.trial.set_user_attr("facts", running.provenance)
        if running.reason is not None:
            self._record_restart(running, running.reason, event)
        self.annotator.trial_changed(running.latest())

    def _record_restart(self, running: RunningTrial, reason: str, event: Started) -> None:
        restart: dict[str, Any] = {"why": reason}
        if running.restarts and "epochs" not in running.restarts[-1]:
            restart = running.restarts.pop()  # of a death, that is recorded when it is seen
        restart |= {"epochs": event.epochs, "steps": event.steps}
        restart |= {key: event.provenance[key] for key in ("host", "device")}
        if running.epochs and not event.epochs:
            restart["from"] = "the beginning: " + (
                "no checkpoint could be used"
                if event.shares_files
                else "this worker cannot read the folder of checkpoints"
            )
        running.restarts.append(restart)
        running.trial.set_user_attr("restarts", running.restarts)

    def epoch_ended(self, running: RunningTrial, metrics: EpochMetrics) -> bool:
        """Record an epoch, of a continued trial once; return whether the trial goes on."""
        if metrics.epoch > running.epochs:
            running.history.append(metrics)
            trials.record_history(running.trial, running.history)
            running.trial.report(metrics.val_accuracy, step=metrics.epoch)
            running.log.append(f"epoch {metrics.epoch}: {metrics.val_accuracy:.4f}")
            self.observer.epoch_ended(running.number, metrics)
        elif replace(running.history[metrics.epoch - 1], seconds=metrics.seconds) != metrics:
            # Trained again on another kind of machine: these are the epochs of what is kept.
            running.history[metrics.epoch - 1] = metrics
            trials.record_history(running.trial, running.history)
        is_asked = may_prune(
            is_owed=running.item.is_owed,
            epoch=metrics.epoch,
            reported=running.epochs,
            epochs=running.config.epochs,
        )
        return not (is_asked and self.complete.should_prune(running.trial))

    def finished(self, running: RunningTrial, result: TrialResult) -> FrozenTrial:
        """Record how a trial ended, and keep its files."""
        self.settle(running, result)
        study = self.open_study.study
        if result.pruned:
            return trials.record_pruned(study, running.trial)
        ended = trials.record_complete(study, running.trial, result.val_accuracy)
        self.complete.add(ended)
        return ended

    def settle(self, running: RunningTrial, result: TrialResult) -> None:
        """Keep the files of a trial that came to its end, and record which: all but the end."""
        running.is_training = False  # it has nothing left to save, should the run end here
        is_best = not result.pruned and self.complete.is_best(running.number, result.val_accuracy)
        self._publish(running, is_best=is_best)
        if result.note is not None:
            self.note(running, result.note)
        if result.pruned:
            return
        # Files first, then the record: what is recorded is there.
        with self.open_study.lease.fence():
            kept = self.open_study.files.settle(running.number, running.item.name, result)
        if kept.note is not None:
            self.note(running, kept.note)
        if kept.weights_sha256 is not None:
            running.trial.set_user_attr("kept_weights_sha256", kept.weights_sha256)

    def failed(self, running: RunningTrial, failure: Mapping[str, Any]) -> FrozenTrial:
        """Record that a trial failed, and why."""
        self.explain(running, failure)
        return self.open_study.study.tell(running.trial, state=TrialState.FAIL)

    def explain(self, running: RunningTrial, failure: Mapping[str, Any]) -> None:
        """Record why a trial is about to fail."""
        self._publish(running, is_best=False)
        epoch = failure.get("epoch", running.epochs + 1)
        running.trial.set_user_attr("failure", {**failure, "epoch": epoch})

    def died(self, running: RunningTrial, reason: str) -> None:
        """Record that a trial's worker died."""
        restarts = [*running.restarts, {"why": reason, "died": True}]
        running.trial.set_user_attr("restarts", restarts)

    def ended(self, trial: FrozenTrial) -> None:
        """Show that a trial ended or waits; remove the files that it needs no longer."""
        if trial.state.is_finished():
            self.open_study.files.clear(trial.number)
        self.observer.trial_ended(trials.summarize(trial))
        self.annotator.trial_changed(trial)

    def note(self, running: RunningTrial, text: str) -> None:
        """Tell a reader what happened to a trial."""
        self.observer.noted(f"trial {running.number}: {text}")

    def _publish(self, running: RunningTrial, *, is_best: bool) -> None:
        """Bring a trial's pictures and tables to where a browser shows them."""
        self.open_study.files.write_metrics(running.number, running.history)
        with self.open_study.lease.fence():
            artifacts = self.open_study.files.publish(running.number, is_best=is_best)
        record_artifacts(running.trial, artifacts)
