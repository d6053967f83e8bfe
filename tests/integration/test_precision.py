"""bf16: where a check at a study's first run shows that it pays, and then for all of the study."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from command_line import TINY, Cli
from torch import Tensor

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place, training_batches
from cifar_tune.data.search_data import SearchData
from cifar_tune.models.full_map_conv import replace_whole_map_convolutions, restore_convolutions
from cifar_tune.models.resnet import build_model
from cifar_tune.training import precision
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.precision import check_precision
from cifar_tune.training.step import train_step
from cifar_tune.training.trainer import evaluate

MakeConfig = Callable[..., TrialConfig]
CPU = torch.device("cpu")
RUN = ("study", "run", "dropout", "--epochs", "1", *TINY, "--only", "dropout/p=0.1")
HAS_BF16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no bf16")


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line without what spares other tests the check."""
    monkeypatch.delenv("CIFAR_TUNE_PRECISION")
    return cli


def stored_precisions() -> set[str]:
    with sqlite3.connect("storage/cifar-tune.db") as database:
        rows = database.execute(
            "SELECT coalesce(json_extract(value_json, '$.precision'), 'fp32') "
            "FROM trial_user_attributes WHERE key = 'config'"
        )
        return {precision for (precision,) in rows}


def test_the_first_run_decides_for_the_study(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LEAST_SPEEDUP", 0.0)
    monkeypatch.setattr(precision, "MOST_SHIFT", 10.0)
    first = cli(*RUN)
    assert first.code == 0, first.err
    expected = "bf16" if HAS_BF16 else "fp32"
    assert f"precision  {expected}: " in first.out
    assert stored_precisions() == {expected}

    monkeypatch.setattr(precision, "check_precision", None)  # it is not asked again
    second = cli(*RUN, "--seeds", "2")
    assert f"precision  {expected}: that of the stored study" in second.out
    assert second.out.count("after 1 epoch in") == 1, second.err
    assert stored_precisions() == {expected}


def test_what_is_not_faster_or_does_not_agree_is_not_taken(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    monkeypatch.setattr(precision, "LEAST_SPEEDUP", 1e9)
    monkeypatch.setattr(precision, "MOST_SHIFT", 10.0)
    assert check_precision(config, CPU, 1).precision == "fp32"
    monkeypatch.setattr(precision, "LEAST_SPEEDUP", 0.0)
    monkeypatch.setattr(precision, "MOST_SHIFT", 1e-9)
    assert check_precision(config, CPU, 1).precision == "fp32"


@needs_bf16
def test_bf16_moves_the_gradient_less_than_another_batch(make_config: MakeConfig) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = check_precision(make_config(), CPU, 1)
    assert "rounding error is 0." in found.why
    assert torch.equal(torch.get_rng_state(), before), "the generator that dropout draws from"


def test_another_precision_than_the_stored_one_is_refused(cli: Cli) -> None:
    assert cli(*RUN, "--precision", "fp32").code == 0
    refused = cli(*RUN, "--precision", "bf16", "--seeds", "2")
    assert refused.code == 2
    assert "precision is 'bf16', stored 'fp32'" in refused.err
    assert "Traceback" not in refused.err


def test_a_word_that_is_no_precision(cli: Cli) -> None:
    refused = cli(*RUN, "--precision", "fp16")
    assert refused.code == 2
    assert "--precision fp16: expected auto, fp32 or bf16" in refused.err


def test_studies_of_before_are_fp32(cli: Cli) -> None:
    assert cli(*RUN, "--precision", "fp32").code == 0
    with sqlite3.connect("storage/cifar-tune.db") as database:
        database.execute("DELETE FROM study_user_attributes WHERE key = 'precision'")
    assert "precision  fp32: that of the stored study" in cli(*RUN, "--seeds", "2").out


@needs_bf16
def test_trials_in_bf16_are_reproduced_and_tested(cli: Cli) -> None:
    assert cli(*RUN, "--precision", "bf16").code == 0
    given = ("dropout", "dropout/p=0.1/seed=1", "--epochs", "1", *TINY)
    assert "bit for bit" in cli("trial", "rerun", *given).out
    assert cli("trial", "test", "--yes", *given).code == 0
    rerun = cli("best", "rerun", "dropout", "--seeds", "1", "--epochs", "1", *TINY)
    assert rerun.code == 0, rerun.err
    assert stored_precisions() == {"bf16"}, "re-runs are trained as their study was"


def gradient(model: torch.nn.Module) -> Tensor:
    restore_convolutions(model)
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


@needs_bf16
def test_bf16_is_autocast_around_the_forward_pass_alone(
    make_config: MakeConfig, bundled: SearchData
) -> None:
    config = replace(make_config(train_images=128, batch_size=64), precision="bf16")
    split = place(bundled.split(config).train, config, CPU)
    batches = list(training_batches(split, config, 1))
    torch.manual_seed(0)
    model = build_model(config, 10)
    replace_whole_map_convolutions(model, config.input_size)
    optimizer = make_optimizer(model, config)
    kinds = set()
    model.layer4.register_forward_hook(lambda _module, _given, made: kinds.add(made.dtype))
    for images, labels in batches:
        loss, _ = train_step(model, optimizer, images, labels, config)
        assert loss.dtype == torch.float32
    assert kinds == {torch.bfloat16}
    moments = [value for state in optimizer.state.values() for value in state.values()]
    assert {one.dtype for one in [*model.parameters(), *moments]} == {torch.float32}
    assert evaluate(model, split, config, 1).logits.dtype == torch.float32
