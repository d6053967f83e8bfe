"""The exported model works without the product, and is used by it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from best_study import said
from command_line import Cli
from PIL import Image

from cifar_tune.data.bundle import read_bundled

PLAIN = """
import json, sys
import numpy as np
source = open("README.md").read().split("```python\\n")[1].split("```")[0]
source = source[: source.index("with torch.inference_mode")]
exec(source)
held = np.load(sys.argv[1])
right, shown = 0, []
for pixels, label in zip(held["images"], held["labels"]):
    with torch.inference_mode():
        logits = model(prepare(Image.fromarray(pixels.transpose(1, 2, 0)))[None])
    right += int(logits.argmax()) == label
    shown.append(logits[0].tolist())
assert "cifar_tune" not in sys.modules
print(json.dumps({"accuracy": right / len(held["labels"]), "first": shown[0]}))
"""


def test_the_exported_model_works_without_the_product(exported: Cli, tmp_path: Path) -> None:
    command = ("best", "export", "dropout", "--trial", "1", "--out", "model")
    again = exported(*command)
    assert again.code == 2
    assert "is not empty" in again.err
    record = exported(*command, "--overwrite", "--json").record
    assert record["files"] == ["README.md", "config.json", "model.safetensors"]
    test = read_bundled("test")
    np.savez("test.npz", images=test.images, labels=test.labels)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "test.npz")],
        cwd="model",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert plain["accuracy"] == record["test_accuracy"]

    card = Path("model/README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---\n")[1])
    (entry,) = metadata["model-index"]
    assert [one["dataset"]["split"] for one in entry["results"]] == ["validation", "test"]
    assert f"{record['test_accuracy']:.4f}" in card

    Image.fromarray(test.images[0].transpose(1, 2, 0)).save("0.png")
    found = exported("predict", "model", "0.png", "--json").record
    (one,) = found["predictions"]
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    logits = np.array(plain["first"]) / found["calibration"]["temperature"]
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    assert list(one["probabilities"].values()) == pytest.approx(list(expected), abs=1e-5)
    assert "expected calibration error" in said(exported, "predict", "model", "0.png")

    stored_so, tags = Image.open("0.png").transpose(Image.Transpose.ROTATE_90), Image.Exif()
    tags[0x0112] = 6
    stored_so.save("turned.png", exif=tags)
    found = exported("predict", "model", "turned.png", "--json").record
    assert found["predictions"][0]["probabilities"] == one["probabilities"]
    note = "1 image was turned as the camera's orientation tag says, first turned.png"
    assert found["notes"] == [note]
    assert f"note: {note} turned.png: " in said(exported, "predict", "model", "turned.png")


def test_onnx_computes_the_same(exported: Cli) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    made = exported(
        "best", "export", "dropout", "--trial", "1", "--out", "other", "--onnx", "--json"
    )
    assert made.code == 0, made.err
    assert made.record["onnx_difference"] < 1e-3
    session = runtime.InferenceSession("other/model.onnx")
    for images in (1, 5):  # any number of them
        given = np.zeros((images, 3, 32, 32), dtype=np.float32)
        (logits,) = session.run(None, {"images": given})
        assert logits.shape == (images, 10)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda folder: (folder / "config.json").unlink(),
            "expected the folder of an exported model",
        ),
        (lambda folder: (folder / "config.json").write_text("{}"), "format: is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "is not the file"),
        (lambda folder: (folder.parent / "0.png").write_text("no"), "cannot be read as an image"),
        (
            lambda folder: (folder.parent / "0.png").unlink(),
            "error: 0.png: there is no such file\n",
        ),
    ],
)
def test_what_cannot_be_predicted(
    exported: Cli, spoil: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30)).save("0.png")
    spoil(tmp_path / "model")
    answer = exported("predict", "model", "0.png")
    assert answer.code == 2
    assert reason in answer.err
    assert "Traceback" not in answer.err
