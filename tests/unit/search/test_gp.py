"""The sampler of Gaussian processes: what it learns from, and that its draws can be repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from command_line import Cli
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial
from places import STUDY_FILES
from scripted import Run, ScriptedPool, train

from cifar_tune.config.schema import GP, TPE, Random, Sampler
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.search.samplers import MOST_TRIALS, distributions, make_sampler
from cifar_tune.storage import studies
from cifar_tune.storage.definition import DEFAULT_SEED, check_definition
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.trials import begin, put_back, resume

SHIPPED = STUDY_FILES
SPACE = distributions(resolve(load_study_file("learning-rate"), "quick").space)
WIDE = distributions(resolve(load_study_file("joint"), "quick").space)
SAMPLER = GP(name="gp", startup_trials=4)
GAIN = 0.1
"""By how much a made-up trial is better after its second and last epoch."""


def height(rate: float) -> float:
    """Made-up accuracy, greatest at a learning rate of 0.001."""
    return 0.6 - 0.1 * (math.log10(rate) + 3) ** 2


def add(
    study: optuna.Study,
    rate: float,
    value: float,
    state: TrialState = TrialState.COMPLETE,
    failure: str | None = None,
) -> None:
    """Add a made-up trial that ended; a pruned one after its first epoch."""
    early = {1: value - GAIN}
    reported = {TrialState.COMPLETE: {**early, 2: value}, TrialState.PRUNED: early}
    study.add_trial(
        create_trial(
            state=state,
            value=value if state == TrialState.COMPLETE else None,
            params={"learning_rate": rate},
            distributions=dict(SPACE),
            intermediate_values=reported.get(state, {}),
            user_attrs={} if failure is None else {"failure": {"kind": failure}},
        )
    )


def make_study(kept: BaseStorage | None = None) -> optuna.Study:
    """Six trials on both sides of the best rate."""
    study = optuna.create_study(
        storage=kept or InMemoryStorage(), study_name="made-up", direction="maximize"
    )
    for rate in (0.0001, 0.0002, 0.0004, 0.003, 0.006, 0.01):
        add(study, rate, height(rate))
    return study


def draw(study: optuna.Study, seed: int = 0, sampler: Sampler = SAMPLER) -> float:
    """The learning rate of the next trial, which is left running."""
    made = make_sampler(sampler, seed, SPACE)
    return float(begin(study, SPACE, made, {}, {}).params["learning_rate"])


def apart(one: float, other: float) -> float:
    """How far two learning rates are apart, in powers of ten."""
    return abs(math.log10(one) - math.log10(other))


def test_draws_near_the_best_of_what_is_known() -> None:
    assert apart(draw(make_study()), 0.001) < 0.4


@pytest.mark.parametrize(
    "end_badly",
    [
        lambda study, rate: add(study, rate, 0.3, TrialState.PRUNED),
        lambda study, rate: add(study, rate, 0.0, TrialState.FAIL, "not_finite"),
    ],
    ids=["pruned", "not finite"],
)
def test_learns_from_trials_that_did_not_complete(
    end_badly: Callable[[optuna.Study, float], None],
) -> None:
    study = make_study()
    first = draw(study)
    study.tell(study.trials[-1].number, state=TrialState.FAIL)  # of which nothing is learnt
    assert draw(study) == first
    study = make_study()
    for shift in (0.9, 1.0, 1.1):
        end_badly(study, first * shift)
    assert apart(draw(study), first) > 0.2


def test_pruned_trial_counts_as_what_it_would_have_come_to() -> None:
    complete, pruned = make_study(), make_study()
    for rate in (0.0007, 0.0015):
        add(complete, rate, height(rate))
        add(pruned, rate, height(rate), TrialState.PRUNED)
    assert draw(pruned) == pytest.approx(draw(complete))


def test_trial_that_runs_is_not_drawn_again() -> None:
    study = make_study()
    first = draw(study)
    assert apart(draw(study), first) > 0.05
    assert draw(make_study()) == first


def test_draw_is_the_same_from_a_database_and_after_it_was_cut_short(tmp_path: Path) -> None:
    kept = studies.open_to_write(locate_storage(str(tmp_path / "made-up.db")))
    study = make_study(kept)
    expected = draw(make_study())
    assert draw(study) == pytest.approx(expected)
    begun = study.trials[-1]
    put_back(study, begun)  # its values are known
    again = resume(study, begun.number, SPACE, make_sampler(SAMPLER, 0, SPACE))
    assert again.params == begun.params


def test_trial_that_died_between_two_values_gets_the_others(tmp_path: Path) -> None:
    def begin_names(names: list[str]) -> tuple[optuna.Study, optuna.Trial]:
        storage = f"sqlite:///{tmp_path / str(len(names))}.db"
        study = optuna.create_study(direction="maximize", storage=storage)
        random = np.random.default_rng(0)
        for _ in range(6):
            made = make_sampler(SAMPLER, int(random.integers(1000)), WIDE)
            study.tell(begin(study, WIDE, made, {}, {}), random.random())
        part = {name: WIDE[name] for name in names}
        known = make_sampler(SAMPLER, 5, WIDE)
        return study, begin(study, part, known, {}, {})

    _, whole = begin_names(list(WIDE))
    study, cut = begin_names(list(WIDE)[:2])
    assert len(cut.params) == 2
    put_back(study, cut)
    assert resume(study, cut.number, WIDE, make_sampler(SAMPLER, 5, WIDE)).params == whole.params


def test_tpe_draws_where_there_are_too_many_trials() -> None:
    study = make_study()
    for _ in range(MOST_TRIALS):
        add(study, 0.002, 0.5, TrialState.PRUNED)
    tpe = TPE(name="tpe", startup_trials=4, multivariate=True)
    by_tpe = draw(study, sampler=tpe)
    study.tell(study.trials[-1].number, state=TrialState.FAIL)
    assert draw(study) == by_tpe


@pytest.fixture
def spec(spec: StudySpec) -> StudySpec:
    """Named trials, and a search by Gaussian processes."""
    return spec.with_profile(sampler=SAMPLER)


def test_study_is_searched_two_trials_at_once_and_goes_on_with_another_sampler(
    run: Run, spec: StudySpec
) -> None:
    outcome = run(ScriptedPool(2, lambda task, _: train(task)), more_trials=4)
    assert [trial.state for trial in outcome.trials] == ["complete"] * 8
    drawn = [tuple(trial.params.values()) for trial in outcome.trials if not trial.name]
    assert len(set(drawn)) == 4
    stored = studies.find_study(studies.open_to_read(locate_storage("s.db")), spec.study_name)
    changed = spec.with_profile(sampler=Random(name="random"))
    assert check_definition(stored, changed, None, None) == DEFAULT_SEED


def test_too_few_trials_before_it_begins_are_refused(tmp_path: Path, cli: Cli) -> None:
    text = (SHIPPED / "learning-rate.toml").read_text("utf-8")
    changed = text.replace(
        '"tpe"\nstartup_trials = 5\nmultivariate = true', '"gp"\nstartup_trials = 1'
    )
    (tmp_path / "mine.toml").write_text(changed, "utf-8")
    answer = cli("study", "show", "mine.toml")
    assert answer.code == 2
    assert "quick.sampler.startup_trials = 1: expected a number of at least 2" in answer.err
