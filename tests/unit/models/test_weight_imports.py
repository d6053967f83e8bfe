"""Files of weights as people have them: wrapped, prefixed, misnamed, damaged, hostile."""

from __future__ import annotations

import argparse
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import TINY, Cli
from safetensors.torch import load_file, save_file
from torch import Tensor
from weight_files import DATA, as_pth, as_safetensors, refusal

from cifar_tune.models import weights

# --- import ---------------------------------------------------------------------------------------


# --- wrapped, prefixed, misnamed ------------------------------------------------------------------


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def without_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


Wrap = Callable[[dict[str, Tensor]], dict[str, Any]]
WRAPPED: dict[str, tuple[Wrap, str]] = {
    "DataParallel": (lambda state: under("module.", state), "prefix module."),
    "torch.compile": (lambda state: under("_orig_mod.", state), "prefix _orig_mod."),
    "both": (lambda state: under("_orig_mod.module.", state), "prefix _orig_mod.module."),
    "Lightning": (
        lambda state: {"epoch": 3, "state_dict": under("model.", state), "optimizer_states": []},
        "entry state_dict with prefix model.",
    ),
    "entry": (lambda state: {"net": state, "acc": 95.1}, "entry net"),
    "nested entry": (
        lambda state: {
            "state": {"model": state, "optimizer": {"state": {0: {"m": state["fc.bias"]}}}}
        },
        "entry state/model",
    ),
    "backbone": (
        lambda state: {"state_dict": under("backbone.", without_head(state))},
        "entry state_dict with prefix backbone.",
    ),
    "the same twice": (lambda state: {"best": state, "last": state}, "entry best"),
}


@pytest.mark.parametrize(("wrap", "said"), WRAPPED.values(), ids=WRAPPED.keys())
def test_one_wrapper_or_prefix_is_taken_off_and_said(
    cli: Cli, tmp_path: Path, state: dict[str, Tensor], wrap: Wrap, said: str
) -> None:
    torch.save(wrap(state), tmp_path / "My net (1).ckpt")
    answer = cli("weights", "import", str(tmp_path / "My net (1).ckpt"))
    assert answer.code == 0, answer.err
    assert f"({said} taken off)" in answer.out
    loaded = weights.load_weights(["my-net-1"], Path(DATA))["my-net-1"]
    assert loaded.sha256 == weights.digest_of_tensors(without_head(state))


@pytest.mark.parametrize(
    ("save", "name"),
    [(as_safetensors, "w.pth"), (as_safetensors, "W.SAFETENSORS"), (as_pth, "w.safetensors")],
)
def test_the_format_is_told_by_content(
    cli: Cli, tmp_path: Path, state: dict[str, Tensor], save: Callable[..., None], name: str
) -> None:
    save(state, tmp_path / name)
    assert cli("weights", "import", str(tmp_path / name)).code == 0
    loaded = weights.load_weights(["w"], Path(DATA))["w"]
    assert loaded.sha256 == weights.digest_of_tensors(without_head(state))


NOT_ONE: dict[str, tuple[Wrap, str]] = {
    "student and teacher": (
        lambda state: {**under("student.", state), **under("teacher.", state)},
        "holds 2 networks (prefix student., prefix teacher.); expected a file with one of them",
    ),
    "model and average": (
        lambda state: {"model": state, "ema": {name: 1 * value for name, value in state.items()}},
        "holds 2 networks (entry model, entry ema)",
    ),
    "plain and prefixed": (
        lambda state: {**state, **under("module.", state)},
        "holds 2 networks (no prefix, prefix module.)",
    ),
    "tensor twice": (
        lambda state: {**under("module.", state), "conv1.weight": state["conv1.weight"]},
        "has tensors twice, with prefix module. and without",
    ),
    "another head": (
        lambda state: under("backbone.", without_head(state)) | {"head.weight": state["fc.weight"]},
        "is not a state dict of torchvision's ResNet-18: 1 not known: head.weight",
    ),
    "part": (
        lambda state: {
            "net": {name: value for name, value in state.items() if "layer4" not in name}
        },
        "is not a state dict of torchvision's ResNet-18: 25 missing: layer4.0.conv1.weight, ",
    ),
    "another network": (
        lambda state: {"model": {"stem.\n.weight": state["conv1.weight"]}},
        r"100 missing: conv1.weight, bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var, "
        r"layer1.0.conv1.weight and 94 more; 1 not known: 'stem.\n.weight'",
    ),
    "too large for float32": (
        lambda state: state | {"bn1.bias": torch.full((64,), 1e300, dtype=torch.float64)},
        "1 not numbers as expected: bn1.bias is not finite as float32",
    ),
    "no dense numbers": (
        lambda state: state | {"bn1.bias": state["bn1.bias"].to_sparse()},
        "1 not numbers as expected: bn1.bias is not dense",
    ),
}


@pytest.mark.parametrize(("wrap", "said"), NOT_ONE.values(), ids=NOT_ONE.keys())
def test_what_is_not_one_network_is_refused_by_name(
    cli: Cli, tmp_path: Path, state: dict[str, Tensor], wrap: Wrap, said: str
) -> None:
    torch.save(wrap(state), tmp_path / "w.pth")
    assert said in refusal(cli, tmp_path / "w.pth")


def test_a_checkpoint_that_holds_itself(cli: Cli, tmp_path: Path, state: dict[str, Tensor]) -> None:
    checkpoint: dict[str, Any] = {"net": state}
    checkpoint |= {str(number): checkpoint for number in range(50)}
    torch.save(checkpoint, tmp_path / "w.pth")
    assert cli("weights", "import", str(tmp_path / "w.pth")).code == 0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_is_called_so(cli: Cli, tmp_path: Path) -> None:
    torch.jit.script(torch.nn.BatchNorm2d(64)).save(str(tmp_path / "w.pt"))
    assert "w.pt: holds a TorchScript program" in refusal(cli, tmp_path / "w.pt")
    torch.save({"state_dict": {}, "args": argparse.Namespace()}, tmp_path / "w.ckpt")
    assert "besides tensors (argparse.Namespace)" in refusal(cli, tmp_path / "w.ckpt")


# --- bad input ------------------------------------------------------------------------------------


def test_missing_extra_and_wrongly_shaped_tensors_are_listed(
    cli: Cli, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    changed = {name: value for name, value in state.items() if "layer3.0" not in name}
    changed["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    changed["layer5.weight"] = torch.zeros(1)
    changed["bn1.weight"] = torch.full((64,), torch.nan)
    changed["bn1.bias"] = torch.zeros(64, dtype=torch.int64)
    save_file(changed, tmp_path / "w.safetensors")
    said = refusal(cli, tmp_path / "w.safetensors")
    assert "15 missing: layer3.0.conv1.weight, " in said
    assert "and 9 more" in said
    assert "1 not known: layer5.weight" in said
    assert "1 wrongly shaped: conv1.weight [64, 3, 3, 3] instead of [64, 3, 7, 7]" in said
    assert "bn1.weight is not finite" in said
    assert "bn1.bias is torch.int64" in said


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def test_pickle_with_code_is_not_executed(cli: Cli, tmp_path: Path) -> None:
    torch.save({"conv1.weight": Malicious()}, tmp_path / "w.pth")
    assert "holds Python objects or code" in refusal(cli, tmp_path / "w.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("w.pth", torch.zeros(3), "holds a Tensor, expected a state dict"),
        ("w.pth", {"a": 1}, "1 not known: a"),
        ("w.pth", {1: torch.zeros(3)}, "1 not known: 1"),
        ("w.pth", b"\x80\x02junk", "is not a whole file of torch.save"),
        ("w.pth", b"", "is not a whole file of torch.save"),
        ("w.safetensors", b"\xff" * 64, "is not a whole safetensors file"),
        ("w.safetensors", None, "No such file"),
    ],
)
def test_files_that_hold_no_weights(
    cli: Cli, tmp_path: Path, name: str, content: object, complaint: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    assert complaint in refusal(cli, path)


def test_truncated_files(cli: Cli, tmp_path: Path, state: dict[str, Tensor], saved: Path) -> None:
    torch.save(state, tmp_path / "w.pth")
    for path in (saved, tmp_path / "w.pth"):
        path.write_bytes(path.read_bytes()[:-5000])
        assert "is not a whole" in refusal(cli, path)


def test_no_room_on_the_disk(cli: Cli, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 10**6))
    assert "1 MB are free on this disk, 45 MB are needed" in refusal(cli, saved)


def test_stored_weights_that_were_changed_are_refused(cli: Cli, saved: Path) -> None:
    cli("weights", "import", str(saved))
    path = Path(DATA) / "weights" / "mine.safetensors"
    run = ("study", "run", "transfer", "--only", "transfer/finetune", *TINY)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    answer = cli(*run, "--set", "weights=mine")
    assert answer.code == 2
    assert "is not what was imported as mine; import it again" in answer.err
    path.write_bytes(whole[:-100])
    assert "is damaged or was not written by cifar-tune" in cli(*run, "--set", "weights=mine").err
    save_file(load_file(saved), path)
    assert "is damaged or was not written by cifar-tune" in cli("weights", "status").err
    assert "there are no weights called other" in cli(*run, "--set", "weights=other").err
    assert not Path("storage").exists()
