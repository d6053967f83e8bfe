"""Weights that a study keeps."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import TINY, Cli
from places import write_changed_study


def test_the_best_trials_weights_are_kept_and_no_others(cli: Cli, tmp_path: Path) -> None:
    name = write_changed_study(tmp_path, "")
    text = (tmp_path / name).read_text().replace('keep_weights = "named"\n', "", 1)
    (tmp_path / name).write_text(text)
    record = cli("study", "run", name, *TINY, "--epochs", "1", "--trials", "2", "--json").record
    files = list((tmp_path / "storage" / "cifar-tune-weights").rglob("*"))
    kept = [path.name for path in files if path.is_file()]
    assert kept == [f"trial-{record['best']['number']}.safetensors"]


def test_the_best_trial_is_exported_after_a_study_without_a_look_at_the_test_images(
    cli: Cli, tmp_path: Path
) -> None:
    """Also where the best is a sampled trial, as those of a study with fewer named ones are."""
    assert cli("study", "run", "joint", *TINY, "--epochs", "1", "--trials", "3").code == 0
    best = cli("best", "show", "joint", *TINY, "--epochs", "1", "--json").record
    answer = cli("best", "export", "joint", *TINY, "--epochs", "1", "--out", "model")
    assert answer.code == 0, answer.err
    exported = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert exported["trial"]["number"] in best["shortlist"][0]["trials"]
    assert cli("test-reads", "--json").record["test_reads"] == []
