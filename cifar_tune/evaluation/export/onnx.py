"""An exported model as ONNX, checked against PyTorch on real images.

Source: ONNX, https://onnx.ai; PyTorch's exporter, ``torch.onnx``.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifar_tune.data.loader import place, validation_batches
from cifar_tune.data.search_data import load_search_data
from cifar_tune.errors import InputError, StorageError, WorkError
from cifar_tune.evaluation.export.model_files import open_model
from cifar_tune.files import replacing

FILE = "model.onnx"
TOLERANCE = 1e-3
"""The largest difference of a logit between ONNX Runtime and PyTorch, both in float32."""


def export_onnx(folder: Path, root: Path) -> float:
    """Add an ONNX file to a folder with an exported model, checked on validation images.

    The images come from ``root``, the folder of imported images. Returned is the largest difference
    of a logit from PyTorch's.

    Raises:
        InputError: A package of the extra is not installed.
        WorkError: What ONNX Runtime computes is not what PyTorch does.
        StorageError: The file cannot be written.
    """
    cpu = torch.device("cpu")
    exported = open_model(folder, cpu)
    config = dataclasses.replace(exported.config, augment_validation=False, precision="fp32")
    validation = load_search_data(config.data, root).split(config).validation
    images, _ = next(validation_batches(place(validation, config, cpu), config, 0))
    return _write(exported.model, images, folder)


def _write(model: nn.Module, images: Tensor, folder: Path) -> float:
    """Write a model in evaluation mode, once it was run on images float32 [N, 3, S, S]."""
    runtime = import_runtime()
    model = model.to(memory_format=torch.contiguous_format)
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory(prefix="cifar-tune-") as scratch,
    ):
        warnings.simplefilter("ignore")  # of deprecations inside of the exporter
        file = Path(scratch, FILE)
        torch.onnx.export(
            model,
            (images[:2].contiguous(),),
            file,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        content = file.read_bytes()
    with torch.inference_mode():
        expected = model(images).numpy()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    difference = float(np.abs(logits - expected).max())
    if not difference <= TOLERANCE:
        raise WorkError(
            f"{folder / FILE}: ONNX Runtime's logits differ from PyTorch's by {difference:.2g}; "
            f"expected at most {TOLERANCE:g}; nothing was written"
        )
    with replacing(folder / FILE, len(content), StorageError) as temporary:
        temporary.write_bytes(content)
    return difference


def import_runtime() -> Any:
    """Return ONNX Runtime.

    Raises:
        InputError: A package of the extra is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--onnx: {error.name} is not installed; expected `pip install 'cifar-tune[onnx]'`"
        ) from error
    return onnxruntime
