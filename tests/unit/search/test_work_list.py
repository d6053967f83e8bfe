"""What a run begins, and in which order: nothing twice, nothing that cannot end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    items = take_all(WorkList(spec, 0, [], None))
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
    work_list = WorkList(spec, 0, trials, None)
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
    work_list = WorkList(spec.with_profile(trials=0), 0, trials, None)
    assert [item.name for item in take_all(work_list)] == NAMES


def test_failed_trials_are_run_again_with_what_they_had(spec: StudySpec) -> None:
    trials = [
        known(0, NAMES[0], "retry"),
        known(1, None, "retry", seed=7, params={"dropout_rate": 0.5}),
        known(2, None, "retried"),
        known(3, None, "settled", is_again=True),
    ]
    items = take_all(WorkList(spec, 0, trials, 2))
    assert [item.name for item in items[:4]] == NAMES
    assert items[4].attributes == {"retry_of": 1, "seed": 7}
    assert items[4].params == {"dropout_rate": 0.5}
    assert (items[5].params, items[5].index) == (None, 2)
    assert len(items) == 6


def test_a_trial_that_is_put_back_is_next_and_is_not_counted_twice(spec: StudySpec) -> None:
    work_list = WorkList(replace(spec, named=()), 0, [], 2)
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
    work_list = WorkList(spec, 0, [begun], None)
    item = work_list.next(lambda item: item.config.epochs == 1)
    assert item is not None
    assert item.name == NAMES[2]
    assert work_list.next(lambda item: item.config.epochs == 1) is None
    assert work_list.left().trials == 3 + 8


def test_all_that_nobody_asked_for_is_left_to_another_run(spec: StudySpec) -> None:
    trials = [
        known(0, NAMES[0], "waiting"),
        known(1, None, "waiting", queued={"by": "someone"}, index=1),
        known(2, None, "waiting"),
        known(3, None, "retry", queued={"by": "someone"}, index=2),
        known(4, None, "retry"),
    ]
    for more_trials in (None, 2):
        work_list = WorkList(spec, 0, trials, more_trials, only_queued=True)
        assert work_list.left().trials == 2
        items = take_all(work_list)
        assert [(item.number, item.index) for item in items] == [(1, 1), (None, 2)]


# --- what holds for every course of a run ---------------------------------------------------------

SPEC = resolve(load_study_file("dropout"), "quick")
trials_before = st.lists(
    st.tuples(
        st.sampled_from((*NAMES, None, None)),
        st.sampled_from(("waiting", "settled", "retry", "retried", "dropped")),
        st.integers(0, 2),
    ),
    max_size=8,
)


def known_trials(before: list[tuple[str | None, str, int]]) -> list[Known]:
    """Return what earlier runs may have left: a name waits or is settled once at the most."""
    trials, named = [], set[str]()
    for number, (name, state, epochs) in enumerate(before):
        if name is None or name not in named:
            trials.append(known(number, name, state, epochs=epochs))
        if name is not None and state in ("waiting", "settled"):
            named.add(name)
    return trials


@settings(max_examples=60, deadline=None)
@given(
    before=trials_before,
    more_trials=st.none() | st.integers(0, 3),
    course=st.lists(st.tuples(st.sampled_from(("begin", "end", "put back")), st.integers(0, 9))),
)
def test_what_is_left_and_what_is_begun_and_what_ended_are_all_there_is(
    before: list[tuple[str | None, str, int]],
    more_trials: int | None,
    course: list[tuple[str, int]],
) -> None:
    work_list = WorkList(SPEC, 0, known_trials(before), more_trials)
    total, running, ended = work_list.left().trials, list[tuple[int, Item]](), list[Item]()
    for number, (what, choice) in enumerate(course, start=100):
        if what == "begin":
            item = work_list.next(anything)
            if item is not None and item.number is None and item.params is None:
                work_list.sampled(number)
            assert (item is None) == (total == len(running) + len(ended))
            running += [(item.number or number, item)] if item is not None else []
        elif running:
            number_of, item = running.pop(choice % len(running))
            if what == "end":
                ended.append(item)
            else:
                work_list.put_back(item, number_of, 1, alone=False)
        assert work_list.left().trials + len(running) + len(ended) == total
    names = [item.name for item in ended if item.name is not None]
    assert len(names) == len(set(names))
    numbers = [item.number for item in ended if item.number is not None]
    assert len(numbers) == len(set(numbers))


@settings(max_examples=60, deadline=None)
@given(before=trials_before, refusals=st.lists(st.booleans(), max_size=20))
def test_the_order_in_which_trials_fit_does_not_matter(
    before: list[tuple[str | None, str, int]], refusals: list[bool]
) -> None:
    def identities(items: list[Item]) -> set[tuple[Any, ...]]:
        return {
            (item.number, item.name, item.index, item.attributes.get("retry_of")) for item in items
        }

    expected = take_all(WorkList(SPEC, 0, known_trials(before), None))
    work_list, left = WorkList(SPEC, 0, known_trials(before), None), list(refusals)
    taken = []
    for _ in refusals:
        item = work_list.next(lambda _: not left or not left.pop())
        if item is not None:
            taken.append(item)
            if item.number is None and item.name is None and "retry_of" not in item.attributes:
                work_list.sampled(100 + len(taken))
    taken += take_all(work_list)
    # Of sampled trials those that wait, are run again or are new may be taken in any order.
    owed = [item for item in taken if item.is_owed]
    assert identities(owed) == identities([item for item in expected if item.is_owed])
    assert len(taken) == len(expected)
