"""What the figures of a search rest on: early epochs, importances and a surrogate."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar_tune.evaluation.early_epochs import compute_early_epochs
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.importance import compute_importances, resample_importances
from cifar_tune.evaluation.surrogate import compute_effects
from cifar_tune.training.records import EpochMetrics

RANGES = {
    "matters": {"low": 1e-4, "high": 1e-2, "log": True},
    "idle": {"low": 0.0, "high": 2.0, "log": False},
}


def record(number: int, *accuracies: float, state: str = "complete") -> TrialRecord:
    history = tuple(
        EpochMetrics(epoch, 1.0, 0.5, 1.0, accuracy, 1.0)
        for epoch, accuracy in enumerate(accuracies, start=1)
    )
    return TrialRecord(
        number=number, name="", model="", replicate="", seed=1, state=state, params={},
        settings={}, config={}, epochs_planned=len(accuracies), history=history, values={},
        test_reads=0, device="", has_weights=False, failure="", command="",
    )  # fmt: skip


def accuracy_of(place: float) -> float:
    """Highest in the middle of the logarithmic range."""
    return 0.6 - 0.1 * (math.log10(place) + 3) ** 2


def search(trials: int) -> list[FrozenTrial]:
    random = np.random.default_rng(3)
    distributions = {
        "matters": FloatDistribution(1e-4, 1e-2, log=True),
        "idle": FloatDistribution(0.0, 2.0),
    }
    found = []
    for _ in range(trials):
        place = float(10 ** random.uniform(-4, -2))
        params = {"matters": place, "idle": float(random.uniform(0, 2))}
        value = accuracy_of(place) + 0.002 * float(random.normal())
        found.append(
            create_trial(
                state=TrialState.COMPLETE, value=value, params=params, distributions=distributions
            )
        )
    return found


# --- early epochs ---------------------------------------------------------------------------------


def test_rank_correlation_by_epoch() -> None:
    # The first epoch has the order of the last one turned round, the second has it.
    trials = [record(n, -0.01 * n, 0.01 * n, 0.1 * n) for n in range(1, 9)]
    early = compute_early_epochs([*trials, record(9, 0.9, 0.9, state="pruned")])
    assert early is not None
    assert (early.trials, early.last_epoch) == (8, 3)
    first, second = early.epochs
    assert (first.epoch, first.correlation) == (1, pytest.approx(-1))
    assert second.correlation == pytest.approx(1)
    for epoch in early.epochs:
        assert epoch.low <= epoch.correlation <= epoch.high


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        early, late = random.normal(size=(2, 12))
        found = compute_early_epochs(
            [record(n, *pair) for n, pair in enumerate(zip(early, late, strict=True))]
        )
        assert found is not None
        held += found.epochs[0].low <= 0 <= found.epochs[0].high
    assert 0.9 <= held / 200 <= 0.99


def test_few_trials_or_a_single_epoch_have_no_correlation() -> None:
    assert compute_early_epochs([record(n, 0.1 * n, 0.1 * n) for n in range(5)]) is None
    assert compute_early_epochs([record(n, 0.1 * n) for n in range(9)]) is None
    assert compute_early_epochs([record(n, 0.1, 0.1 * n) for n in range(9)]) is None


# --- importances ----------------------------------------------------------------------------------


def test_importances_with_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    verbosity = optuna.logging.get_verbosity()
    trials = search(40)
    first, second = resample_importances(trials)
    assert first.parameter == "matters"
    assert first.share > 0.7
    assert compute_importances(trials)["matters"] == pytest.approx(first.share)
    for importance in (first, second):
        assert 0 <= importance.low <= importance.share <= importance.high <= 1
    assert first.low < first.high
    assert resample_importances(trials) == (first, second)
    assert {one.parameter for one in resample_importances(trials, of_good=True)} == set(RANGES)
    assert optuna.logging.get_verbosity() == verbosity
    assert capsys.readouterr().err == ""  # Optuna says nothing of studies in memory


def test_too_few_trials_have_no_importances() -> None:
    assert resample_importances(search(3)) == ()
    assert resample_importances(search(11), of_good=True) == ()


# --- the surrogate --------------------------------------------------------------------------------


def test_effects_are_those_of_the_truth() -> None:
    trials = search(40)
    params, values = [trial.params for trial in trials], [trial.value or 0.0 for trial in trials]
    matters, idle = compute_effects(RANGES, params, values)
    assert (matters.values[0], matters.values[-1]) == pytest.approx((1e-4, 1e-2))
    for place, mean, low, high in zip(
        matters.values, matters.means, matters.lows, matters.highs, strict=True
    ):
        assert low < mean < high
        assert mean == pytest.approx(accuracy_of(place), abs=0.02)
    assert max(idle.means) - min(idle.means) < 0.01


def test_a_band_is_wider_where_no_trial_was() -> None:
    trials = [trial for trial in search(60) if trial.params["matters"] < 1e-3]
    params, values = [trial.params for trial in trials], [trial.value or 0.0 for trial in trials]
    matters, _ = compute_effects(RANGES, params, values)
    widths = [high - low for low, high in zip(matters.lows, matters.highs, strict=True)]
    assert widths[-1] > 3 * widths[len(widths) // 4]


def test_few_or_equal_trials_have_no_effects() -> None:
    params = [trial.params for trial in search(12)]
    assert compute_effects(RANGES, params[:9], list(range(9))) == ()
    assert compute_effects(RANGES, params, [0.5] * 12) == ()
