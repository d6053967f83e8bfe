"""What ``cifar-tune bench`` prints, and that its ways of training are what they are said to be."""

from __future__ import annotations

import pytest
import torch
from command_line import Cli

from cifar_tune.benchmarks.cases import count_flops, list_cases

CPU = torch.device("cpu")
CASES = ["scratch", "finetune", "layer1-frozen", "all-frozen", "augmented-224", "at-once"]


def test_an_unknown_case(cli: Cli) -> None:
    answer = cli("bench", "--only", "scrach")
    assert answer.code == 2
    assert f"--only scrach: expected one of {', '.join(CASES)}, study" in answer.err


def test_the_cases_are_the_assignments_models() -> None:
    cases = {case.name: case.config for case in list_cases(CPU)}
    assert list(cases) == [name for name in CASES if name in cases]
    assert cases["scratch"].weights == "none"
    assert cases["finetune"].weights == "tiny-imagenet-32"
    assert (cases["layer1-frozen"].freeze_depth, cases["all-frozen"].freeze_depth) == (2, 5)
    for name in ("layer1-frozen", "all-frozen"):
        assert cases[name].frozen_batch_norm == "running"
        assert cases[name].epochs == 20
    large = cases["augmented-224"]
    assert (large.input_size, large.augmentation_strength) == (224, 1.0)
    # 37 million multiplications an image forwards (He et al. 2016 at a 49th of the area), twice as
    # many backwards, less the first layer's.
    assert count_flops(cases["scratch"]) == pytest.approx(2 * 37e6 * 3, rel=0.1)
    assert count_flops(cases["all-frozen"]) == pytest.approx(2 * 37e6, rel=0.05)
