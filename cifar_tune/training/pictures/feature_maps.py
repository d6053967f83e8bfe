"""Looks into a trained ResNet: the feature maps of its layers, how active they are, and Grad-CAM.

Forward hooks read the maps, and captum's ``LayerGradCam`` computes the Grad-CAM. The package
``grad-cam`` does that too, but needs OpenCV, scikit-learn and ttach; captum needs little that is
not here already.

Grad-CAM: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017.

All is computed in double precision on the CPU, so that the number of threads does not show in the
figures.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.augment import transform
from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.errors import InputError
from cifar_tune.models.resnet import FREEZE_STAGES, frozen_stages
from cifar_tune.training.pictures.activation_record import (
    FloatArray,
    GradCamLayer,
    ImageView,
    LayerFreeze,
    LayerStats,
    LayerView,
)

GRAD_CAM_LAYERS = ("layer1", "layer2", "layer3", "layer4")
GRAD_CAM_SIZE = 4
"""The least height and width of a map that can tell one place of an image from another."""

_FOLLOWERS = {
    "conv1": "bn1",
    "bn1": "relu",
    "conv2": "bn2",
    "bn2": "add",
    "downsample.0": "downsample.1",
    "downsample.1": "add",
    "add": "relu_1",
}
"""In a block, and in the stem, what follows on an operation whose output may be negative."""


@dataclass(frozen=True)
class Layer:
    """A layer under the name that was asked for, with the operation that gives its output.

    ``passed`` is as in ``LayerStats``.
    """

    name: str
    operation: str
    passed: tuple[str, ...]

    @property
    def measured(self) -> str:
        """The operation that gives the values that are measured."""
        return self.passed[-1] if self.passed else self.operation


@dataclass(frozen=True)
class Network:
    """A model that can be looked into, in evaluation mode and double precision."""

    model: nn.Module
    config: TrialConfig
    layers: tuple[Layer, ...]
    grad_cam: GradCamLayer

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def look_into(model: nn.Module, names: Iterable[str], config: TrialConfig) -> Network:
    """Prepare a model for looking into it; it is in evaluation mode and double precision then.

    It is on the CPU, in torchvision's shapes. Layers are named in torchvision's words: an
    operation, or a part, meaning its last operation. One that is named twice is taken once.

    Raises:
        InputError: There is no such layer, or it gives no map.
    """
    model.eval().double()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # or it would write over the map of the batch norm before it
    with torch.inference_mode():
        probe = torch.zeros(1, 3, config.input_size, config.input_size).double()
        outputs = record_operations(model, probe)
    operations = tuple(outputs)
    layers = tuple(_find_layer(name, operations, model) for name in dict.fromkeys(names))
    for layer in layers:
        if outputs[layer.operation].ndim != 4:
            raise InputError(f"layer {layer.name}: gives no map, but a list of numbers")
    stages = [_find_layer(name, operations, model).operation for name in GRAD_CAM_LAYERS]
    return Network(
        model, config, layers, _choose_grad_cam(tuple(outputs[name].shape[-1] for name in stages))
    )


def record_operations(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Compute a ResNet and return what each of its operations gives, in order.

    Operations have the names of ``torchvision.models.feature_extraction``: that of the module, with
    ``_1`` where a block calls its ReLU again; ``add`` and ``flatten`` are no modules. Hooks stand
    on this model alone, so others of the process are computed undisturbed. Its ReLU must not write
    over its input; images are float [B, 3, S, S], in the precision of the network.
    """
    outputs: dict[str, Tensor] = {}

    def take(name: str, features: Tensor, output: Tensor) -> None:
        if name in outputs:  # of a block, the ReLU after the shortcut's addition
            outputs[f"{name.removesuffix('relu')}add"] = features
            name = f"{name}_1"
        if name.startswith("fc") and "flatten" not in outputs:
            outputs["flatten"] = features
        outputs[name] = output.clone()  # a block adds its shortcut into what bn2 gave

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if not list(module.children()):
                hooks.enter_context(
                    module.register_forward_hook(
                        lambda _, inputs, output, name=name: take(name, inputs[0], output)
                    )
                )
        model(images)
    return outputs


def _choose_grad_cam(sizes: tuple[int, ...]) -> GradCamLayer:
    """Return the deepest layer with a large enough map; if there is none, that with the largest."""
    fit = [place for place, side in enumerate(sizes) if side >= GRAD_CAM_SIZE]
    chosen = fit[-1] if fit else 0
    return GradCamLayer(GRAD_CAM_LAYERS[chosen], sizes[chosen], sizes)


def _find_layer(name: str, operations: Sequence[str], model: nn.Module) -> Layer:
    """Return the layer of a name: an operation's, or that of a part, meaning its last operation."""
    inside = [own for own in operations if own == name or own.startswith(f"{name}.")]
    if not inside:
        known = [*operations, *(part for part, _ in model.named_modules() if part)]
        near = difflib.get_close_matches(name, dict.fromkeys(known), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        convolutions = [
            part for part, module in model.named_modules() if isinstance(module, nn.Conv2d)
        ]
        raise InputError(
            f"layer {name!r}: is not in the network; {hint}its convolutions are "
            f"{', '.join(convolutions)}"
        )
    operation = name if name in operations else inside[-1]
    own = re.sub(r"^layer\d\.\d\.", "", operation)
    block, passed = operation.removesuffix(own), []
    while own in _FOLLOWERS:
        own = _FOLLOWERS[own]
        passed.append(f"{block}{own}")
    return Layer(name, operation, tuple(passed))


def see(
    network: Network,
    pixels: UInt8Array,
    classes: Sequence[str],
    source: str,
    label: str | None,
    test_index: int | None = None,
    note: str = "",
) -> ImageView:
    """Show the network one image, and take down what it makes of it.

    ``pixels`` are uint8 [3, H, H], RGB; they are brought to the network as the trial's images were.
    ``classes`` are names in the order of the labels, the rest is as in ``ImageView``.
    """
    config = network.config
    image = transform(
        torch.from_numpy(np.array(pixels))[None],
        None,
        config.input_size,
        torch.tensor(config.normalize_mean, dtype=torch.float32),
        torch.tensor(config.normalize_std, dtype=torch.float32),
    ).double()
    with torch.inference_mode():
        outputs = record_operations(network.model, image)
    logits = outputs[next(reversed(outputs))]
    probabilities = logits[0].softmax(dim=0)
    top = probabilities.argsort(descending=True, stable=True)[:3].tolist()
    return ImageView(
        source=source,
        test_index=test_index,
        label=label,
        note=note,
        top=tuple((classes[place], significant(probabilities[place])) for place in top),
        pixels=np.ascontiguousarray(pixels.transpose(1, 2, 0)),
        layers=tuple(
            _measure(layer, outputs[layer.operation][0], outputs[layer.measured][0])
            for layer in network.layers
        ),
        grad_cam=_grad_cam(network, image, top[0]),
    )


def _measure(layer: Layer, maps: Tensor, values: Tensor) -> LayerView:
    """Take down a layer: its own ``maps`` [C, H, W] and the ``values`` [C, H, W] measured."""
    active = values > 0
    channels, height, width = maps.shape
    return LayerView(
        layer=layer.name,
        maps=maps.to(torch.float32).numpy(),
        activity=values.mean(dim=(1, 2)).to(torch.float32).numpy(),
        stats=LayerStats(
            channels=channels,
            height=height,
            width=width,
            passed=layer.passed,
            active_fraction=significant(active.double().mean()),
            mean_active=significant(values[active].mean()) if active.any() else 0.0,
            maximum=significant(values.max()),
            silent_channels=int((~active.any(dim=2).any(dim=1)).sum()),
        ),
    )


def _grad_cam(network: Network, image: Tensor, label: int) -> FloatArray:
    """Return the Grad-CAM of a class's logit, float32 [h, w], without what speaks against it."""
    layer = network.model.get_submodule(network.grad_cam.layer)
    # Frozen parameters ask for no gradient; where all before the layer are frozen, the image must.
    attribution = LayerGradCam(network.model, layer).attribute(
        image.requires_grad_(), target=label, relu_attributions=True
    )
    result: FloatArray = attribution[0, 0].detach().to(torch.float32).numpy()
    return result


def describe_freeze(network: Network, layer: Layer) -> LayerFreeze:
    """Return how freezing concerns a layer, by the stages of ``cifar_tune.models.resnet``."""
    part = layer.operation.split(".")[0]
    depth = next(depth for depth, names in enumerate(FREEZE_STAGES, 1) if part in names)
    frozen = frozen_stages(network.model, depth)
    fixed = sum(value.numel() for stage in frozen for value in stage.parameters())
    own = dict(network.model.named_modules()).get(layer.name)
    return LayerFreeze(
        layer=layer.name,
        depth=depth,
        is_frozen=network.config.freeze_depth >= depth,
        parameters=sum(value.numel() for value in own.parameters()) if own is not None else 0,
        fixed_parameters=fixed,
        fixed_share=significant(fixed / network.parameters),
        batch_norms=sum(
            isinstance(module, nn.BatchNorm2d) for stage in frozen for module in stage.modules()
        ),
    )


def significant(value: Any) -> float:
    """Return a number to four significant digits, so that rounding errors do not show."""
    return float(f"{float(value):.4g}")
