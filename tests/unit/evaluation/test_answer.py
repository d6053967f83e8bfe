"""The one sentence that a report, the note of a study and ``best show`` begin or end with."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Cli
from made_up import ACCURACIES, MadeUp

from cifar_tune.config.derived import derive_spec
from cifar_tune.evaluation.answer import Answer, Settlement
from cifar_tune.evaluation.leader import read_answer
from cifar_tune.storage.location import locate_storage

NAMED = [f"dropout/p=0.{tenth}" for tenth in range(1, 5)]


class Made:
    """A study with made-up outcomes, and its answer."""

    def __init__(self, path: Path, seeds: int = 1, name: str = "dropout") -> None:
        self.path = path
        self.made = MadeUp(path, name, "quick")
        self.made.spec = self.made.spec.with_profile(seeds=seeds)

    def answer(self) -> Answer:
        return read_answer(locate_storage(str(self.path)), self.made.spec)


def accuracies(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    for name, value in zip(NAMED, values, strict=True):
        monkeypatch.setitem(ACCURACIES, name, value)


def test_one_seed_says_what_is_noise_and_what_settles_it(tmp_path: Path) -> None:
    study = Made(tmp_path / "s.db")
    study.made.add_named(is_read=False)
    answer = study.answer()
    assert (answer.finding, answer.basis, answer.seeds) == ("noise", "named", 1)
    assert answer.sentence == (
        "p=0.3 leads p=0.2 by 1.3 points (52.6 against 51.3 % validation accuracy); "
        "differences below about 4 points are noise at one seed of 1,000 images."
    )
    # Wilson's interval of 526 of 1,000.
    assert answer.find("dropout/p=0.3").low == pytest.approx(0.4950, abs=1e-4)
    settlement = answer.settlement
    assert settlement is not None
    assert (settlement.seeds, settlement.trials, settlement.is_first) == (3, 8, True)
    assert settlement.command.endswith("--seeds 3")
    assert "3 seeds of each give a first interval: 8 more trials, about 7 min" in (
        settlement.sentence
    )


def test_noise_of_one_seed_is_that_of_pairs_of_images(tmp_path: Path) -> None:
    kept, lost = Made(tmp_path / "kept.db"), Made(tmp_path / "lost.db")
    kept.made.add_named(is_read=False)
    lost.made.add_named(is_read=False, keeps_answers=False)
    noises = [study.answer().noise for study in (kept, lost)]
    assert all(noise is not None and 0.02 < noise < 0.06 for noise in noises)
    assert noises[0] != noises[1]


def test_one_seed_never_shows_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies(monkeypatch, 0.3, 0.4, 0.6, 0.5)
    study = Made(tmp_path / "s.db")
    study.made.add_named(is_read=False)
    answer = study.answer()
    assert answer.finding == "open"
    assert "more than noise" in answer.sentence
    assert answer.sentence.endswith("but one seed does not show it.")


def test_three_seeds_show_a_large_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies(monkeypatch, 0.3, 0.4, 0.6, 0.5)
    study = Made(tmp_path / "s.db", seeds=3)
    study.made.add_named(is_read=False)
    answer = study.answer()
    assert (answer.finding, answer.seeds) == ("shown", 3)
    assert answer.settlement is None
    assert answer.sentence.startswith("p=0.3 is the best of 4: it leads p=0.4 by ")
    assert "95 % interval of the lead" in answer.sentence
    assert "3 seeds of 1,000 images" in answer.sentence


def test_three_seeds_leave_a_small_lead_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies(monkeypatch, 0.5, 0.5, 0.5, 0.5)
    study = Made(tmp_path / "s.db", seeds=3)
    study.made.add_named(is_read=False)
    answer = study.answer()
    assert answer.finding in ("noise", "open")
    assert answer.low is not None
    settlement = answer.settlement
    assert settlement is not None
    assert (settlement.seeds is None) == (settlement.command == "")


def test_a_confirmation_decides(tmp_path: Path) -> None:
    study = Made(tmp_path / "s.db")
    study.made.add_named(is_read=False)
    study.made.add_sampled(2)
    spec = study.made.spec
    fresh = MadeUp.of(study.path, derive_spec(spec, "confirm", spec.named, seeds=3))
    fresh.add_named(is_read=False)
    answer = study.answer()
    assert (answer.basis, answer.seeds, answer.compared) == ("confirmation", 3, 4)
    assert answer.sentence.startswith("On fresh seeds, p=0.3 ")
    if answer.settlement is not None:
        assert "best confirm" in answer.settlement.command


def test_a_report_ranks_replicates_with_their_confirmation_as_best_show_does(
    tmp_path: Path, cli: Cli
) -> None:
    study = Made(tmp_path / "s.db", seeds=2)
    study.made.add_named(is_read=False)
    spec = study.made.spec
    fresh = MadeUp.of(study.path, derive_spec(spec, "confirm", spec.named, seeds=3))
    fresh.add_named(is_read=False)
    arguments = ("dropout", "--profile", "quick", "--storage", str(study.path), "--json")
    shown = cli("best", "show", *arguments).record["shortlist"]
    ranked = cli("report", *arguments).record["ranking"]["shortlist"]
    assert ranked == shown


def test_without_named_trials_the_sampled_ones_are_compared(tmp_path: Path) -> None:
    study = Made(tmp_path / "s.db")
    study.made.add_sampled(12)  # six of them pruned
    answer = study.answer()
    assert (answer.basis, answer.compared, answer.finding) == ("sampled", 6, "noise")
    assert answer.sentence.startswith("Trial ")
    means = [model.mean for model in answer.models]
    assert means == sorted(means, reverse=True)
    assert answer.settlement is not None
    assert answer.settlement.command == (
        f"cifar-tune best confirm dropout --profile quick --storage {study.path} --seeds 3"
    )


def test_one_model_is_compared_with_nothing(tmp_path: Path) -> None:
    study = Made(tmp_path / "s.db", name="final")
    study.made.add_named(is_read=False)
    answer = study.answer()
    assert answer.finding == "alone"
    assert "nothing else is complete to compare it with" in answer.sentence
    assert "95 % interval" in answer.sentence


def test_a_model_at_chance_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies(monkeypatch, 0.5, 0.51, 0.53, 0.1)
    study = Made(tmp_path / "s.db")
    study.made.add_named(is_read=False)
    assert study.answer().at_chance == ("p=0.4/seed=1",)
    assert study.answer().sentence.endswith("; p=0.4/seed=1 is no better than guessing.")


def test_all_models_at_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies(monkeypatch, 0.1, 0.1, 0.1, 0.1)
    study = Made(tmp_path / "s.db")
    study.made.add_named(is_read=False)
    answer = study.answer()
    assert answer.finding == "chance"
    assert answer.sentence.startswith("No model is better than guessing (10.0 %): the best, p=0.")


def test_nothing_complete(tmp_path: Path) -> None:
    study = Made(tmp_path / "s.db")
    answer = study.answer()
    assert answer.finding == "none"
    assert answer.sentence == "No trial is complete yet, so there is nothing to compare."
    assert answer.settlement is not None
    assert answer.settlement.command.startswith("cifar-tune study run dropout")


def test_best_show_ends_with_the_sentence_of_the_report(cli: Cli, tmp_path: Path) -> None:
    study = Made(tmp_path / "s.db")
    study.made.add_named(is_read=False)
    shown = " ".join(cli("best", "show", "dropout", "--storage", str(study.path)).out.split())
    record = cli("report", "dropout", "--storage", str(study.path), "--json").record
    assert record["answer"]["sentence"] == study.answer().sentence
    assert shown.endswith(study.answer().sentence)


def test_what_would_settle_it_is_said_in_full() -> None:
    def say(seeds: int | None, images: int | None = None, *, is_first: bool = False) -> str:
        settlement = Settlement(seeds, images, 8, 482.0, is_first, "command", "assignment")
        return settlement.sentence

    assert say(3, is_first=True) == (
        "3 seeds of each give a first interval: 8 more trials, about 8 min 2 s."
    )
    assert say(20) == (
        "20 seeds of each show with a probability of 80 % that it leads, or that it leads by less "
        "than 1.0 points: 8 more trials, about 8 min 2 s."
    )
    assert say(None, 2303) == (
        "No number of seeds decides it with so few validation images; about 2,400 are needed, as "
        "profile assignment has."
    )
    assert say(None) == "More seeds than can be planned for would be needed."
