"""Weights that a study keeps."""

from __future__ import annotations

from pathlib import Path

from command_line import TINY, Cli
from places import write_changed_study


def test_the_best_trials_weights_are_kept_and_no_others(cli: Cli, tmp_path: Path) -> None:
    name = write_changed_study(tmp_path, "keep_best = 1")
    text = (tmp_path / name).read_text().replace('keep_weights = "named"\n', "", 1)
    (tmp_path / name).write_text(text)
    record = cli("study", "run", name, *TINY, "--epochs", "1", "--trials", "2", "--json").record
    files = list((tmp_path / "storage" / "cifar-tune-weights").rglob("*"))
    kept = [path.name for path in files if path.is_file()]
    assert kept == [f"trial-{record['best']['number']}.safetensors"]
