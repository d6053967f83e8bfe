"""Pretrained weights: what is in the package, what comes in, and what is refused."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import TINY, Cli
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import resnet18

from cifar_tune.data.augment import transform
from cifar_tune.data.search_data import SearchData
from cifar_tune.errors import WeightsError
from cifar_tune.models import bundled_weights, weights

DATA = "no-data"
"""Folder of imported images and weights that the ``cli`` fixture sets."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A state dict of torchvision's ResNet-18 with the head of ImageNet's 1,000 classes."""
    torch.manual_seed(0)
    return dict(resnet18().state_dict())


@pytest.fixture
def saved(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "mine.safetensors"
    save_file(state, path)
    return path


def refusal(cli: Cli, path: Path, *arguments: str) -> str:
    """The one line that an import is refused with; nothing is left of it."""
    answer = cli("weights", "import", str(path), *arguments)
    assert answer.code == 2, answer.out
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1, answer.err
    assert not list(Path(DATA).rglob("*.*"))
    return answer.err


# --- in the package -------------------------------------------------------------------------------


def test_bundled_weights_fit_torchvision_and_the_rest_is_zero() -> None:
    tensors = bundled_weights.read_bundled_weights()
    missing, unexpected = resnet18().load_state_dict(tensors, strict=False)
    assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])
    assert bundled_weights.BUNDLED.stat().st_size < 8_600_000
    live = sum(value.count_nonzero().item() for value in tensors.values())
    assert 4.1e6 < live < 4.3e6  # of 11.18 million; the rest meets nothing but padding at 32 px


def test_dead_taps_do_not_matter_at_32_px_and_do_at_64(bundled: SearchData) -> None:
    model = resnet18()
    model.load_state_dict(bundled_weights.read_bundled_weights(), strict=False)
    other = resnet18()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, taps in bundled_weights.LIVE_TAPS.items():
            kernel = other.get_parameter(name)
            kept = kernel[:, :, taps, taps].clone()
            kernel.normal_()
            kernel[:, :, taps, taps] = kept
    half = torch.full((3,), 0.5)
    pixels = torch.from_numpy(bundled.train.images[:8])
    for size, same in ((32, True), (64, False)):
        images = transform(pixels, None, size, half, half)
        with torch.no_grad():
            difference = (model.eval()(images) - other.eval()(images)).abs().max()
        assert bool(difference < 1e-4) is same


def test_damaged_bundled_weights(tmp_path: Path) -> None:
    whole = bundled_weights.BUNDLED.read_bytes()
    path = tmp_path / "w.safetensors"
    path.write_bytes(whole[:-1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        bundled_weights.read_bundled_weights(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match="damaged"):
        bundled_weights.read_bundled_weights(path)


def test_rule_of_the_live_taps_refuses_a_file_that_uses_the_others(tmp_path: Path) -> None:
    full = bundled_weights.unpack(load_file(bundled_weights.BUNDLED))
    assert bundled_weights.pack(full).keys() == load_file(bundled_weights.BUNDLED).keys()
    full["layer4.1.conv2.weight"][0, 0, 0, 0] = 1
    with pytest.raises(WeightsError, match=r"layer4\.1\.conv2\.weight: has values in taps"):
        bundled_weights.pack(full)
    save_file(full, tmp_path / "other.safetensors")
    assert bundled_weights.main([str(tmp_path / "other.safetensors")]) == 2


# --- import ---------------------------------------------------------------------------------------


def as_safetensors(state: dict[str, Tensor], path: Path) -> None:
    save_file(state, path)


def as_pth(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def as_pth_of_an_old_version(state: dict[str, Tensor], path: Path) -> None:
    old = {name: value for name, value in state.items() if not name.endswith("tracked")}
    torch.save(old, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [as_safetensors, as_pth, as_pth_of_an_old_version])
def test_any_file_of_the_same_tensors_gives_the_same_weights(
    cli: Cli, tmp_path: Path, state: dict[str, Tensor], save: Callable[..., None]
) -> None:
    path = tmp_path / ("My_Net.pth" if "pth" in save.__name__ else "My_Net.safetensors")
    save(state, path)
    answer = cli("weights", "import", str(path))
    assert answer.code == 0, answer.err
    assert 'weights = "my-net"' in answer.out
    rows = {row["name"]: row for row in cli("weights", "status", "--json").record["weights"]}
    loaded = weights.load_weights(["my-net"], Path(DATA))["my-net"]
    assert loaded.sha256 == rows["my-net"]["sha256"]
    assert loaded.sha256 == weights.digest_of_tensors(
        {name: value for name, value in state.items() if not name.startswith("fc.")}
    )
    for name, value in loaded.tensors.items():
        assert torch.equal(value, state[name])
    assert sha256(path.read_bytes()).hexdigest() in rows["my-net"]["source"]
    assert rows["imagenet"]["sha256"] is None


def test_a_study_starts_from_imported_weights_and_says_so(cli: Cli, saved: Path) -> None:
    cli("weights", "import", str(saved))
    run = ("study", "run", "transfer", "--only", "transfer/finetune", "--epochs", "1", *TINY)
    answer = cli(*run, "--set", "weights=mine", "--json")
    assert answer.code == 0, answer.err
    import optuna

    record = answer.record
    (trial,) = optuna.load_study(
        study_name=record["study_name"], storage="sqlite:///storage/cifar-tune.db"
    ).trials
    assert trial.user_attrs["config"]["weights"] == "mine"
    loaded = weights.load_weights(["mine"], Path(DATA))["mine"]
    assert trial.user_attrs["facts"]["weights_sha256"] == loaded.sha256
    # Other weights under the same name are another study.
    torch.manual_seed(1)
    save_file(dict(resnet18().state_dict()), saved)
    assert cli("weights", "import", str(saved)).code == 0
    again = cli(*run, "--set", "weights=mine", "--seeds", "2")
    assert again.code == 2
    assert "weights_digests.mine is" in again.err


# --- ImageNet's -----------------------------------------------------------------------------------


@pytest.fixture
def imagenet(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for torchvision's, whose digest is pinned."""
    monkeypatch.setattr(weights, "IMAGENET_SHA256", sha256(saved.read_bytes()).hexdigest())
    path = saved.with_name("resnet18-f37072fd.safetensors")
    return saved.rename(path)


def test_imagenet_weights_are_known_by_their_digest(cli: Cli, imagenet: Path) -> None:
    answer = cli("weights", "import", str(imagenet))
    assert answer.code == 0
    assert 'weights = "imagenet"' in answer.out


def test_nothing_else_is_taken_for_imagenet(cli: Cli, saved: Path) -> None:
    assert "is not torchvision's ImageNet file" in refusal(cli, saved, "--name", "imagenet")


@pytest.mark.parametrize("name", ["none", "tiny-imagenet-32"])
def test_reserved_names(cli: Cli, saved: Path, name: str) -> None:
    assert "has a meaning of its own" in refusal(cli, saved, "--name", name)


@pytest.mark.parametrize("name", ["../out", "A b", ""])
def test_names_that_are_no_names(cli: Cli, saved: Path, name: str) -> None:
    assert "expected lower-case letters" in refusal(cli, saved, "--name", name)


def test_without_imagenet_weights_no_others_are_used(cli: Cli, tmp_path: Path) -> None:
    settings = ("--set", "data=bundled", "--set", "split=fixed", *TINY)
    answer = cli("study", "run", "transfer", "--profile", "assignment", *settings)
    assert answer.code == 2
    assert "imagenet.safetensors: is missing" in answer.err
    assert "cifar-tune weights fetch" in answer.err
    assert "--profile quick" in answer.err
    assert not (tmp_path / "storage").exists()
    scratch = ("--only", "transfer/scratch", "--seeds", "1", "--epochs", "1")
    answer = cli("study", "run", "transfer", "--profile", "assignment", *scratch, *settings)
    assert answer.code == 0, answer.err  # it needs none


def test_fetch(
    cli: Cli,
    imagenet: Path,
    served: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder, address = served
    imagenet = imagenet.rename(folder / imagenet.name)
    monkeypatch.setattr(weights, "IMAGENET_URL", f"{address}/{imagenet.name}")
    answer = cli("weights", "fetch")
    assert answer.code == 0, answer.err
    assert "imagenet: resnet18-f37072fd.safetensors" in answer.out
    left = [path for path in (tmp_path / DATA).rglob("*") if path.is_file()]
    assert left == [tmp_path / DATA / "weights" / "imagenet.safetensors"]


def test_fetch_of_something_else_or_nothing(
    cli: Cli, saved: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    saved.rename(folder / saved.name)
    for url, complaint in (
        (f"{address}/{saved.name}", "is not the file with SHA-256"),
        (f"{address}/gone.pth", "404"),
        ("http://127.0.0.1:9/resnet18.pth", "ConnectionError"),
    ):
        monkeypatch.setattr(weights, "IMAGENET_URL", url)
        answer = cli("weights", "fetch")
        assert answer.code == 2
        assert len(answer.err.splitlines()) == 1, answer.err
        assert complaint in answer.err
        assert "cifar-tune weights import PATH" in answer.err
        assert not list(Path(DATA).iterdir())


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


def test_status_needs_no_import(cli: Cli) -> None:
    record = cli("weights", "status", "--json").record
    assert [row["name"] for row in record["weights"]] == ["tiny-imagenet-32", "imagenet"]
    assert json.dumps(record)
