"""What follows from trials that die or fail."""

from __future__ import annotations

import pytest

from cifar_tune.errors import TrialFailedError
from cifar_tune.search.retry_policy import ERRORS_IN_A_ROW, LIVES, Retry, RetryPolicy
from cifar_tune.workers.protocol import OUT_OF_MEMORY, Died, Failed

ERROR = {"kind": "error", "message": "RuntimeError: no"}


def test_a_trial_whose_worker_died_goes_on_until_its_lives_are_spent() -> None:
    policy, death = RetryPolicy(), Died(7, "its node is gone", tail="Segmentation fault")
    for earlier in range(LIVES - 1):
        judgement = policy.judge_death(death, earlier, [], alone=earlier == 1)
        note = "its node is gone; resumed from its last checkpoint"
        assert judgement == Retry("its node is gone", note, alone=earlier == 1, is_death=True)
    judgement = policy.judge_death(death, LIVES - 1, ["epoch 1: 0.5"], alone=False)
    assert judgement == {
        "kind": "died",
        "message": "its node is gone (4 workers died with this trial)",
        "log": "epoch 1: 0.5\nSegmentation fault",
    }


def test_too_little_memory_is_forgiven_once_for_each_trial() -> None:
    policy = RetryPolicy()
    for number in (1, 2):
        judgement = policy.judge_failure(Failed(number, OUT_OF_MEMORY, "OutOfMemoryError"))
        assert isinstance(judgement, Retry)
        assert (judgement.alone, judgement.is_death) == (True, False)
    again = policy.judge_failure(Failed(1, OUT_OF_MEMORY, "OutOfMemoryError", {"traceback": "…"}))
    assert again == {"kind": "error", "message": "OutOfMemoryError", "traceback": "…"}


@pytest.mark.parametrize("kind", ["not_finite", "error"])
def test_other_failures_are_final(kind: str) -> None:
    judgement = RetryPolicy().judge_failure(Failed(1, kind, "no", {"epoch": 2}))
    assert judgement == {"kind": kind, "message": "no", "epoch": 2}


def test_errors_one_after_another_end_the_run() -> None:
    policy = RetryPolicy()
    for number in range(ERRORS_IN_A_ROW - 1):
        policy.count_failure(number, ERROR)
    policy.count_success()
    for number in range(ERRORS_IN_A_ROW - 1):
        policy.count_failure(number, ERROR)
        policy.count_failure(number, {"kind": "not_finite", "message": "a result"})
    with pytest.raises(TrialFailedError, match=r"3 trials failed .* trial 9: RuntimeError: no"):
        policy.count_failure(9, ERROR)
    assert policy.errors == 2 * ERRORS_IN_A_ROW - 1
