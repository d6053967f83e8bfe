"""What a run begins, and in which order: nothing twice, nothing that cannot end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.search.work_list import Item, WorkList
from cifar_tune.storage.trials import Known

NAMES = [f"dropout/p=0.{i}/seed=1" for i in range(1, 5)]


@pytest.fixture
def spec() -> StudySpec:
    """The dropout study's quick profile: four named trials, eight sampled, three epochs."""
    return resolve(load_study_file("dropout"), "quick")


def anything(_item: Item) -> bool:
    return True


def known(number: int, name: str | None, state: str, **more: Any) -> Known:
    fields = {"seed": 5, "params": {}, "epochs": 0, "is_again": False} | more
    return Known(number, name, state, **fields)


def take_all(work_list: WorkList) -> list[Item]:
    items: list[Item] = []
    while (item := work_list.next(anything)) is not None:
        items.append(item)
        if item.number is None and item.name is None and "retry_of" not in item.attributes:
            work_list.sampled(100 + len(items))
    return items


def test_a_new_study_has_its_named_trials_then_its_sampled_ones(spec: StudySpec) -> None:
    items = take_all(WorkList.make(spec, 0, [], None))
    assert [item.name for item in items] == [*NAMES, *[None] * 8]
    assert [item.index for item in items[4:]] == list(range(8))
    assert all(item.params is not None for item in items[:4])
    assert all(item.params is None for item in items[4:])


def test_what_waits_goes_first_and_counts_among_the_sampled(spec: StudySpec) -> None:
    trials = [
        known(0, NAMES[0], "settled"),
        known(1, NAMES[1], "waiting", epochs=2),
        known(2, None, "settled"),
        known(3, None, "waiting", epochs=1),
        known(4, None, "settled"),
    ]
    work_list = WorkList.make(spec, 0, trials, None)
    assert (work_list.left().sampled, work_list.left().sampled_epochs_done) == (6, 1)
    items = take_all(work_list)
    assert [(item.number, item.name) for item in items[:2]] == [(1, NAMES[1]), (3, None)]
    assert [item.config.epochs for item in items[:2]] == [1, 2]
    assert [item.name for item in items[2:4]] == NAMES[2:]
    # Two were settled, one waited: five new ones, after three that were sampled before.
    assert [item.index for item in items[4:]] == [3, 4, 5, 6, 7]


def test_trials_of_other_replicates_are_left_to_wait(spec: StudySpec) -> None:
    waiting = known(0, "dropout/p=0.1/seed=2", "waiting")
    trials = [waiting, known(1, None, "waiting")]
    work_list = WorkList.make(spec.with_profile(trials=0), 0, trials, None)
    assert [item.name for item in take_all(work_list)] == NAMES


def test_failed_trials_are_run_again_with_what_they_had(spec: StudySpec) -> None:
    trials = [
        known(0, NAMES[0], "retry"),
        known(1, None, "retry", seed=7, params={"dropout_rate": 0.5}),
        known(2, None, "retried"),
        known(3, None, "settled", is_again=True),
    ]
    items = take_all(WorkList.make(spec, 0, trials, 2))
    assert [item.name for item in items[:4]] == NAMES
    assert items[4].attributes == {"retry_of": 1, "seed": 7}
    assert items[4].params == {"dropout_rate": 0.5}
    assert (items[5].params, items[5].index) == (None, 2)
    assert len(items) == 6


def test_a_trial_that_is_put_back_is_next_and_is_not_counted_twice(spec: StudySpec) -> None:
    work_list = WorkList.make(replace(spec, named=()), 0, [], 2)
    first = work_list.next(anything)
    assert first is not None
    work_list.sampled(0)
    work_list.put_back(first, 0, 2, alone=True)
    assert work_list.left().sampled == 2
    again = work_list.next(anything)
    assert again is not None
    assert (again.number, again.alone, again.config.epochs) == (0, True, 2)
    assert work_list.next(anything) is not None
    assert work_list.next(anything) is None


def test_a_trial_that_does_not_fit_lets_a_shorter_one_pass(spec: StudySpec) -> None:
    begun = known(0, NAMES[2], "waiting", epochs=2)
    work_list = WorkList.make(spec, 0, [begun], None)
    item = work_list.next(lambda item: item.config.epochs == 1)
    assert item is not None
    assert item.name == NAMES[2]
    assert work_list.next(lambda item: item.config.epochs == 1) is None
    assert work_list.left().trials == 3 + 8
