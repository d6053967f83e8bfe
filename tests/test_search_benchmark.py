"""The searches of the studies against plainer ones, on recorded learning curves."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest
from curve_surrogate import Surrogate
from curves import CURVES, load_curves
from search_benchmark import PLAIN, RANDOM, Candidate, of_product, simulate

from cifar_tune.study_file import load_study_file, resolve

REPEATS = 4
EPOCHS = 60


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return Surrogate(load_curves())


def test_surrogate_knows_trials_that_it_has_not_seen(surrogate: Surrogate) -> None:
    spread = load_curves().accuracies.std(axis=0)
    assert (surrogate.regression.errors < 0.5 * spread).all()
    assert surrogate.best_accuracy < load_curves().accuracies[:, -1].max() + 0.02


def test_drawn_curves_scatter_as_seeds_do(surrogate: Surrogate) -> None:
    stored = json.loads(CURVES.read_text("utf-8"))["trials"]
    for model, deviation in load_curves().seed_deviations.items():
        params = next(trial["params"] for trial in stored if trial["model"] == model)
        random = np.random.default_rng(0)
        drawn = np.array([surrogate.draw(params, random) for _ in range(200)])
        assert drawn.mean(axis=0) == pytest.approx(surrogate.mean(params), abs=0.02)
        assert 0.5 * deviation.mean() < drawn.std(axis=0).mean() < 4 * deviation.mean()


def test_search_of_joint_needs_fewer_epochs(surrogate: Surrogate) -> None:
    joint = resolve(load_study_file("joint"), "quick")
    ours = of_product("joint", joint.sampler, joint.pruner)

    def needed(candidate: Candidate) -> float:
        outcomes = [simulate(surrogate, candidate, EPOCHS, seed) for seed in range(REPEATS)]
        return fmean(one.epochs_to_find or EPOCHS for one in outcomes)

    assert needed(ours) < 0.9 * min(needed(RANDOM), needed(PLAIN))
