"""Reports through the command line, on a storage of made-up outcomes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, Cli
from made_up import MadeUp
from places import GOLDEN, STUDY_FILES


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of each named trial of the three studies, and a search."""
    path = tmp_path_factory.mktemp("made-up") / "made-up.db"
    for name in ("transfer", "dropout", "final"):
        made = MadeUp(path, name, "quick")
        made.spec = made.spec.with_profile(seeds=3)
        made.add_named()
        if name == "dropout":
            made.add_sampled(12)
    return path


def page(cli: Cli, name: str, storage: Path, *more: str) -> str:
    answer = cli("report", name, "--storage", str(storage), "--out", "report.html", *more)
    assert answer.code == 0, answer.err
    return Path("report.html").read_text(encoding="utf-8")


def same(found: Any, kept: Any, where: str = "", rel: float = 1e-6) -> None:
    """Equal, floats nearly: libraries differ in the last digits."""
    if isinstance(kept, dict):
        assert found.keys() == kept.keys(), where
        for key, value in kept.items():
            same(found[key], value, f"{where}.{key}", rel)
    elif isinstance(kept, list):
        assert len(found) == len(kept), where
        for place, value in enumerate(kept):
            same(found[place], value, f"{where}[{place}]", rel)
    elif isinstance(kept, float):
        assert found == pytest.approx(kept, rel=rel, abs=1e-12), where
    else:
        assert found == kept, where


@pytest.mark.parametrize("name", ["transfer", "dropout", "final"])
def test_record_is_the_kept_one(cli: Cli, database: Path, name: str) -> None:
    """To keep a new one: CIFAR_TUNE_GOLDEN=write pytest tests/test_report.py, and read the diff."""
    found = cli("report", name, "--storage", str(database), "--json").record
    for trial in found["trials"]:
        del trial["history"]  # as it was made up
        del trial["config"]
    del found["ranking"]  # draws
    if found["search"] is not None:  # fitted, and resampled
        for key in ("effects", "importance_intervals", "importances_of_good"):
            del found["search"][key]
    check_kept(name, found)


def check_kept(name: str, found: Any, rel: float = 1e-6) -> None:
    file = GOLDEN / f"{name}.json"
    if os.environ.get("CIFAR_TUNE_GOLDEN") == "write":
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    same(found, json.loads(file.read_text(encoding="utf-8")), rel=rel)


def test_activation_record_is_the_kept_one(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "weights.db"
    MadeUp(storage, "transfer", "quick").add_with_weights("transfer/finetune")
    arguments = ("report", "activations", "--storage", str(storage))
    record = cli(*arguments, "--json").record
    del record["weights_sha256"]  # libraries lay a file out in their own way
    check_kept("activations", record, rel=1e-3)
    rows = list(csv.DictReader(io.StringIO(cli(*arguments, "--csv").out)))
    assert {row["layer"] for row in rows} >= {"conv1", "layer1.0.conv1", "layer1.1.conv2"}
    html = page(cli, "activations", storage)
    assert html == page(cli, "activations", storage)
    assert "cifar-tune report activations --study transfer --profile quick --trial 0" in html


def test_verdicts_of_the_made_up_truth(cli: Cli, database: Path) -> None:
    record = cli("report", "transfer", "--storage", str(database), "--json").record
    verdicts = {claim["name"]: claim["verdict"] for claim in record["claims"]}
    assert verdicts == {
        "pretraining-helps": "supported",
        "frozen-start-helps": "supported",
        "finetune-best": "undecided",
        "all-frozen-worst": "refuted",
        "all-frozen-fastest": "supported",
        "all-frozen-best": "undecided",
    }
    assert all(claim["declared"] == "before" for claim in record["claims"])
    undecided = next(one for one in record["claims"] if one["verdict"] == "undecided")
    assert undecided["advice"]["seeds"] is not None or undecided["advice"]["images"] is not None


def test_same_storage_gives_the_same_bytes(cli: Cli, database: Path) -> None:
    assert page(cli, "dropout", database) == page(cli, "dropout", database)


def test_a_page_is_short_and_begins_with_the_answer(cli: Cli, database: Path) -> None:
    html = page(cli, "dropout", database)
    answer = cli("report", "dropout", "--storage", str(database), "--json").record["answer"]
    opening, _, rest = html.partition("<nav")
    assert answer["sentence"] in opening
    assert opening.count('<figure class="block chart') == 1
    assert "What would settle it:" in opening
    assert f"--storage {database} --seeds {answer['settlement']['seeds']}<" in opening
    assert opening.count('<div class="box') <= 3
    assert re.findall(r'<section id="(\w+)">', rest) == [
        "comparison", "search", "mistakes", "claims", "protocol",
    ]  # fmt: skip
    charts = re.findall(r'<figure class="block chart[^"]*" id="([^"]+)"', html)
    assert charts == [
        "accuracies", "curves-compared", "history", "slices", "importances", "early-epochs",
        "confusion",
    ]  # fmt: skip
    assert len(html.encode()) < 1e6
    shown = re.sub(r"<(style|script|svg).*?</\1>", "", html, flags=re.DOTALL)
    shown = re.sub(
        r"<details class=\"(long|block fold)\">.*?</details>", "", shown, flags=re.DOTALL
    )
    assert len(re.sub(r"<[^>]+>", " ", shown).split()) < 1200


def test_default_place_is_printed(cli: Cli, database: Path, tmp_path: Path) -> None:
    shutil.copytree(database.parent, tmp_path / "here")
    storage = tmp_path / "here" / database.name
    answer = cli("report", "final", "--storage", str(storage))
    path = storage.parent / "reports" / "final_quick.html"
    assert str(path) in answer.out
    assert 1e5 < path.stat().st_size < 2e6


def test_it_is_opened_in_the_browser_once_it_is_written(
    cli: Cli, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_page(address: str) -> bool:
        assert Path("report.html").exists()
        opened.append(address)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", open_page)
    page(cli, "final", database, "--open")
    assert opened == [Path("report.html").absolute().as_uri()]
    unopened = cli("report", "final", "--storage", str(database), "--out", "report.html", "--open")
    assert unopened.code == 0
    assert "No browser was found to open report.html." in unopened.out
    Path("page.md.j2").write_text("text")
    for arguments in (("final", "--json"), ("final", "--csv"), ("page.md.j2",)):
        answer = cli("report", *arguments, "--storage", str(database), "--open")
        assert answer.code == 2
        assert answer.err.startswith("error: --open: belongs to a report")
    assert len(opened) == 2


def test_csv_has_the_numbers_of_the_json(cli: Cli, database: Path) -> None:
    record = cli("report", "transfer", "--storage", str(database), "--json").record
    out = cli("report", "transfer", "--storage", str(database), "--csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    for model in record["models"]:
        for quantity, measured in model["measured"].items():
            (row,) = (
                row
                for row in rows
                if (row["part"], row["model"], row["quantity"])
                == ("measured", model["name"], quantity)
            )
            assert float(row["value"]) == measured["mean"]
            assert float(row["low"]) == measured["low"]
    epochs = [row for row in rows if row["part"] == "epoch"]
    assert len(epochs) == sum(5 * len(trial["history"]) for trial in record["trials"])


def test_quick_figures_are_not_put_beside_the_published_ones(cli: Cli, database: Path) -> None:
    record = cli("report", "transfer", "--storage", str(database), "--json").record
    assert not record["is_comparable"]
    assert ["epochs", "20", "5"] in record["differences"]
    html = page(cli, "transfer", database)
    assert "Not the published protocol" in html
    assert "3 (published: 20)" not in html
    assert "5 (published: 20)" in html
    assert "80.5 %" in html  # the published figure, in a table of its own
    assert not re.search(r"ours \d", html)
    assert 'as published"' not in html


def test_figures_of_the_same_protocol_stand_beside_the_published_ones(
    cli: Cli, tmp_path: Path
) -> None:
    storage = tmp_path / "same.db"
    MadeUp(storage, "final", "assignment").add_named(keeps_answers=False)
    record = cli("report", "final", "--storage", str(storage), "--json").record
    assert record["is_comparable"]
    measured = record["models"][0]["measured"]
    assert measured["val_accuracy"]["basis"] == "binomial"
    html = page(cli, "final", storage)
    assert "72.8 %" in html
    assert re.search(r"ours \d", html)
    assert "Not the published protocol" not in html


def test_a_model_that_an_override_does_not_touch_stands_beside_the_published_one(
    cli: Cli, tmp_path: Path
) -> None:
    storage = tmp_path / "override.db"
    MadeUp(storage, "transfer", "assignment", weights="tiny-imagenet-32").add_named()
    record = cli("report", "transfer", "--storage", str(storage), "--json").record
    assert not record["is_comparable"]
    same = [model["name"] for model in record["models"] if model["is_comparable"]]
    assert same == ["transfer/scratch"]  # which has no pretrained weights in either
    html = page(cli, "transfer", storage)
    assert len(re.findall(r"ours \d", html)) == 4
    assert "The others have another protocol here" in html


def test_what_is_missing_is_said_with_the_command_that_fills_it(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "some.db"
    made = MadeUp(storage, "transfer", "quick")  # one seed
    made.add_named(is_read=False)
    html = page(cli, "transfer", storage)
    for command in (
        f"cifar-tune study run transfer --profile quick --storage {storage} --seeds 3",
        f"cifar-tune trial test transfer --profile quick --storage {storage}",
        "transfer/model-b (1), transfer/model-a-running (0), transfer/model-b-running (0)",
    ):
        assert command in html
    record = cli("report", "transfer", "--storage", str(storage), "--json").record
    assert {claim["verdict"] for claim in record["claims"]} == {"undecided"}
    assert record["confusion"]["split"] == "validation"


def test_with_one_seed_a_claim_hangs_on_what_is_most_against_it(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "one.db"
    MadeUp(storage, "dropout", "quick").add_named()
    record = cli("report", "dropout", "--storage", str(storage), "--json").record
    several = [claim for claim in record["claims"] if len(claim["contrasts"]) > 1]
    assert several
    for claim in several:
        means = [contrast["mean"] for contrast in claim["contrasts"]]
        assert claim["verdict"] == "undecided"
        assert claim["deciding"] == means.index(min(means))
        assert claim["contrasts"][claim["deciding"]]["judged_seeds"] == 1


def test_between_two_looks_the_verdict_of_the_last_one_stands(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "four.db"
    made = MadeUp(storage, "transfer", "quick")
    made.spec = made.spec.with_profile(seeds=4)
    made.add_named()
    record = cli("report", "transfer", "--storage", str(storage), "--json").record
    for claim in record["claims"]:
        seeds = {(it["seeds"], it["judged_seeds"]) for it in claim["contrasts"]}
        assert seeds == {(4, 3)}
    html = page(cli, "transfer", storage)
    assert "Judged on the first 3 seeds, the last planned look." in html
    assert "none of the 3 seeds showed; up to 63 % of runs may" in html


def test_a_claim_that_came_after_the_trials_is_told_apart(cli: Cli, tmp_path: Path) -> None:
    shipped = STUDY_FILES / "transfer.toml"
    mine = tmp_path / "transfer.toml"
    text = shipped.read_text(encoding="utf-8")
    storage = tmp_path / "late.db"
    MadeUp(storage, "transfer", "quick").add_named()
    late = text.replace('name = "frozen-start-helps"', 'name = "of-another-name"')
    late = late.replace("better_in = { seconds = 0.05 }", "better_in = { seconds = 0.02 }")
    mine.write_text(late, encoding="utf-8")
    record = cli("report", str(mine), "--storage", str(storage), "--json").record
    declared = {claim["name"]: claim["declared"] for claim in record["claims"]}
    assert declared["pretraining-helps"] == "before"
    assert declared["of-another-name"] == "after"
    assert declared["all-frozen-fastest"] == "changed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "unknown study 'nothing'"),
        (("joint",), "studies with trials: dropout:quick, final:quick, transfer:quick;"),
        (("final", "--profile", "assignment"), "studies with trials: final:quick"),
        (("final", "--epochs", "3"), "studies with trials: final:quick"),
        (("final", "--json", "--csv"), "expected one of the two"),
        (("final", "--layer", "conv1"), "--layer: belongs to `cifar-tune report activations`"),
    ],
)
def test_what_cannot_be_reported(
    cli: Cli, database: Path, arguments: tuple[str, ...], said: str
) -> None:
    answer = cli("report", *arguments, "--storage", str(database))
    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1


def test_several_studies_of_one_file_are_listed(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "two.db"
    MadeUp(storage, "final", "quick", epochs=2).add_named()
    MadeUp(storage, "final", "quick", epochs=3).add_named()
    answer = cli("report", "final", "--storage", str(storage))
    assert answer.code == 2
    assert "--profile quick --set epochs=2 or --profile quick --set epochs=3" in answer.err
    assert cli("report", "final", "--storage", str(storage), "--epochs", "3", "--json").code == 0


def test_a_name_means_the_study_without_overrides(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "two.db"
    MadeUp(storage, "final", "quick", epochs=3).add_named()
    MadeUp(storage, "final", "quick").add_named()
    answer = cli("report", "final", "--storage", str(storage), "--json")
    assert answer.record["study_name"] == "final:quick"


def test_a_file_of_another_trial_is_refused(cli: Cli, tmp_path: Path) -> None:
    storage = tmp_path / "swapped.db"
    MadeUp(storage, "final", "quick").add_named()
    first, second, *_ = sorted((tmp_path / "swapped-predictions").rglob("*-test.safetensors"))
    shutil.copy(second, first)
    answer = cli("report", "final", "--storage", str(storage))
    assert answer.code == 2
    assert "trial-0-test.safetensors: does not belong to trial 0" in answer.err
    first.write_bytes(b"nothing of the kind")
    assert "holds no predictions" in cli("report", "final", "--storage", str(storage)).err


@pytest.mark.long
def test_report_of_a_real_run(cli: Cli) -> None:
    """From training to the page: what the runner stores is what a report needs."""
    assert cli("study", "run", "dropout", "--epochs", "2", "--trials", "3", *TINY).code == 0
    assert cli("trial", "test", "--yes", "dropout").code == 0
    assert "has been tested" in cli("trial", "test", "--yes", "dropout").out
    record = cli("report", "dropout", "--json").record
    assert record["fresh"]["test_use"]["reads"] == 4
    for trial in record["trials"]:
        if trial["name"]:
            assert trial["values"]["test_accuracy"] > 0
    models = {model["name"]: model["measured"] for model in record["models"]}
    assert models["dropout/p=0.1"]["val_accuracy"]["basis"] == "images"
    assert len(record["sweep"]["others"]) == 3
    html = page(cli, "dropout", Path("storage/cifar-tune.db"))
    assert "cifar-tune report dropout --profile quick" in html
