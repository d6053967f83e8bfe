"""The searches of the studies against plainer ones, on recorded learning curves."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import record_curves
from curve_surrogate import Surrogate
from curves import CURVES, load_curves
from scripted import Run, ScriptedPool, train
from search_benchmark import PLAIN, RANDOM, Outcome, of_product, simulate

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.config.trial import without_defaults

REPEATS = 4
EPOCHS = 75


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return Surrogate(load_curves())


def test_curves_are_of_the_protocol_of_joint() -> None:
    stored = json.loads(CURVES.read_text("utf-8"))
    for study in (str(CURVES.with_name("curves.toml")), "joint"):
        spec = resolve(load_study_file(study), "quick")
        assert without_defaults(spec.protocol.model_dump()) == stored["protocol"]
        assert spec.space.model_dump(exclude_none=True) == stored["space"]


def test_stored_study_is_written_as_curves(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ScriptedPool(1, lambda task, _: train(task)), more_trials=3)
    path = tmp_path / "curves.json"
    arguments = ["dropout:quick:epochs=2", "--storage", "s.db", "--out", str(path)]
    monkeypatch.setattr("sys.argv", ["record_curves.py", *arguments])
    assert record_curves.main() == 0
    curves = load_curves(path)
    assert curves.points.shape == (7, 3)
    assert ((curves.points >= 0) & (curves.points <= 1)).all()
    assert (curves.accuracies == 0.5).all()
    assert curves.models[:4] == tuple(f"dropout/p=0.{digit}" for digit in range(1, 5))
    assert curves.models[4:] == ("", "", "")
    monkeypatch.setattr("sys.argv", ["record_curves.py", "nothing", *arguments[1:]])
    assert record_curves.main() == 2


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
    candidates = (of_product("joint", joint.profile.sampler, joint.profile.pruner), PLAIN, RANDOM)
    ours, plain, by_chance = (
        [simulate(surrogate, candidate, EPOCHS, seed) for seed in range(REPEATS)]
        for candidate in candidates
    )

    def epochs(outcomes: list[Outcome]) -> float:
        return fmean(one.epochs_to_find or EPOCHS for one in outcomes)

    def regret(outcomes: list[Outcome]) -> float:
        return fmean(one.regret(EPOCHS) for one in outcomes)

    assert epochs(ours) < min(epochs(plain), epochs(by_chance))
    # Over 30 seeds it is a quarter of theirs.
    assert regret(ours) < 0.7 * min(regret(plain), regret(by_chance))
