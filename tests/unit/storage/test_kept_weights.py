"""Which final weights are kept: of named trials and of the best others, within a cap."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import TINY, Cli
from places import write_changed_study

from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.storage.kept_weights import WEIGHTS_BYTES, Candidate, choose_kept, room_needed


@pytest.fixture
def spec() -> StudySpec:
    """The dropout study's quick profile: four named trials, eight sampled, three epochs."""
    return resolve(load_study_file("dropout"), "quick")


def candidates(*accuracies: float, named: int = 0) -> list[Candidate]:
    return [
        Candidate(number, number < named, accuracy, WEIGHTS_BYTES)
        for number, accuracy in enumerate(accuracies)
    ]


def test_named_ones_and_the_best_of_the_others_are_kept(spec: StudySpec) -> None:
    some = candidates(0.1, 0.2, 0.5, 0.3, 0.5, 0.4, named=2)
    assert choose_kept(spec.with_profile(keep_weights="named", keep_best=2), some) == {0, 1, 2, 4}
    assert choose_kept(spec.with_profile(keep_weights="named", keep_best=0), some) == {0, 1}
    assert choose_kept(spec.with_profile(keep_weights="none", keep_best=1), some) == {2}
    assert choose_kept(spec.with_profile(keep_weights="none", keep_best=0), some) == set()


def test_the_cap_lets_named_ones_in_first(spec: StudySpec) -> None:
    capped = spec.with_profile(keep_weights="named", keep_best=3, keep_gigabytes=0.14)
    assert choose_kept(capped, candidates(0.1, 0.2, 0.9, 0.8, named=2)) == {0, 1, 2}
    assert choose_kept(capped, candidates(0.1, 0.2, 0.3, 0.4, 0.9, named=4)) == {0, 1, 2}
    assert room_needed(capped, named=4) == 140_000_000
    assert room_needed(capped.with_profile(keep_gigabytes=10), named=4) == 7 * WEIGHTS_BYTES


@pytest.mark.e2e
def test_the_best_trials_weights_are_kept_and_no_others(cli: Cli, tmp_path: Path) -> None:
    name = write_changed_study(tmp_path, "keep_best = 1")
    text = (tmp_path / name).read_text().replace('keep_weights = "named"\n', "", 1)
    (tmp_path / name).write_text(text)
    record = cli("study", "run", name, *TINY, "--epochs", "1", "--trials", "2", "--json").record
    files = list((tmp_path / "storage" / "cifar-tune-weights").rglob("*"))
    kept = [path.name for path in files if path.is_file()]
    assert kept == [f"trial-{record['best']['number']}.safetensors"]
