"""Pretrained weights: what is in the package, what comes in, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from command_line import TINY, Cli
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import resnet18
from weight_files import DATA, as_pth, as_safetensors, refusal

from cifar_tune.data.augment import transform
from cifar_tune.data.search_data import SearchData
from cifar_tune.errors import WeightsError
from cifar_tune.models import bundled_weights, weights

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


def test_status_needs_no_import(cli: Cli) -> None:
    record = cli("weights", "status", "--json").record
    assert [row["name"] for row in record["weights"]] == ["tiny-imagenet-32", "imagenet"]
    assert json.dumps(record)
