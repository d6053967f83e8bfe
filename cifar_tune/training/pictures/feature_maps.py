"""Looks into a ResNet: the feature maps of its layers, how active they are, and Grad-CAM.

Libraries: torchvision's feature extractor gives the maps of any operation of the network, and
captum's ``LayerGradCam`` the Grad-CAM. The package ``grad-cam`` does that too, but needs OpenCV,
scikit-learn and ttach; captum needs little that is not here already.

Grad-CAM: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017.

All is computed in double precision on the CPU, so that the number of threads does not show in the
figures.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer, create_feature_extractor

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.augment import transform
from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.errors import InputError
from cifar_tune.models.resnet import FREEZE_STAGES, SeededDropout, frozen_stages
from cifar_tune.training.pictures.activation_record import (
    FloatArray,
    GradCamLayer,
    LayerFreeze,
    LayerStats,
    LayerView,
)

GRAD_CAM_LAYERS = ("layer1", "layer2", "layer3", "layer4")
GRAD_CAM_SIZE = 4
"""The least height and width of a map that can tell one place of an image from another."""

_RECTIFIED = (nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
"""Modules of a ResNet whose output is never negative."""
_LEAVES = [SeededDropout]
"""Modules that are one operation each, besides those of PyTorch."""


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        name: as it was asked for.
        node: of the operation that gives its output, in the network's graph.
        passed: as in ``LayerStats``.
    """

    name: str
    node: str
    passed: tuple[str, ...]

    @property
    def measured(self) -> str:
        """The node that gives the values that are measured."""
        return self.passed[-1] if self.passed else self.node


@dataclass(frozen=True)
class Network:
    """A model that can be looked into.

    Attributes:
        extract: gives tensors [N, C, H, W] by node, and the logits [N, K] as ``logits``.
    """

    model: nn.Module
    config: TrialConfig
    extract: nn.Module
    layers: tuple[Layer, ...]
    grad_cam: GradCamLayer

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""
        return sum(one.numel() for one in self.model.parameters())


@dataclass(frozen=True)
class Seen:
    """What the network made of an image.

    Attributes:
        top: labels with their probabilities as fractions, the most probable first.
        layers: in the network's order.
        grad_cam: float32 [h, w], of the most probable label.
    """

    top: tuple[tuple[int, float], ...]
    layers: tuple[LayerView, ...]
    grad_cam: FloatArray


def look_into(model: nn.Module, names: Iterable[str], config: TrialConfig) -> Network:
    """Prepare a model for looking into it; it is in evaluation mode and double precision then.

    Args:
        names: of layers, in torchvision's words: of an operation, or of a part, meaning its last
            operation. One that is named twice is taken once.

    Raises:
        InputError: there is no such layer, or it gives no map.
    """
    model.eval().double()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # or it would write over the map of the batch norm before it
    graph = _trace(model)
    layers = tuple(_find_layer(name, graph, model) for name in dict.fromkeys(names))
    stages = [_find_layer(name, graph, model).node for name in GRAD_CAM_LAYERS]
    nodes = [*stages, *(node for layer in layers for node in (layer.node, layer.measured))]
    logits = list(graph)[-1]
    extract = create_feature_extractor(
        model,
        return_nodes={n: n for n in nodes} | {logits: "logits"},
        tracer_kwargs={"leaf_modules": _LEAVES},
    )
    with torch.inference_mode():
        probe = extract(torch.zeros(1, 3, config.input_size, config.input_size).double())
    for layer in layers:
        if layer.node not in probe or probe[layer.node].ndim != 4:
            raise InputError(f"layer {layer.name}: gives no map, but a list of numbers")
    sizes = tuple(probe[node].shape[-1] for node in stages)
    return Network(model, config, extract, layers, _choose_grad_cam(sizes))


def _choose_grad_cam(sizes: tuple[int, ...]) -> GradCamLayer:
    """The deepest layer with a large enough map; where there is none, the one with the largest."""
    fit = [place for place, side in enumerate(sizes) if side >= GRAD_CAM_SIZE]
    chosen = fit[-1] if fit else 0
    return GradCamLayer(GRAD_CAM_LAYERS[chosen], sizes[chosen], sizes)


def _trace(model: nn.Module) -> dict[str, fx.Node]:
    """The operations of the network by torchvision's names for them, in order, without its input
    and output."""
    tracer = NodePathTracer(leaf_modules=_LEAVES)
    graph = tracer.trace(model)
    names = tracer.node_to_qualname
    return {names[node]: node for node in graph.nodes if node.op not in ("placeholder", "output")}


def _find_layer(name: str, graph: Mapping[str, fx.Node], model: nn.Module) -> Layer:
    """The layer of a name: an operation's, or that of a part, meaning its last operation."""
    inside = [node for node in graph if node == name or node.startswith(f"{name}.")]
    if not inside:
        known = [*graph, *(part for part, _ in model.named_modules() if part)]
        near = difflib.get_close_matches(name, dict.fromkeys(known), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        convolutions = [
            part for part, module in model.named_modules() if isinstance(module, nn.Conv2d)
        ]
        raise InputError(
            f"layer {name!r}: is not in the network; {hint}its convolutions are "
            f"{', '.join(convolutions)}"
        )
    node = name if name in graph else inside[-1]
    operation, passed = graph[node], []
    by_operation = {operation: name for name, operation in graph.items()}
    # All that is not rectified has one follower, up to the shortcut's addition and beyond.
    while not _is_rectified(operation, model) and len(operation.users) == 1:
        operation = next(iter(operation.users))
        if operation not in by_operation:
            break
        passed.append(by_operation[operation])
    return Layer(name, node, tuple(passed))


def _is_rectified(operation: fx.Node, model: nn.Module) -> bool:
    return operation.op == "call_module" and isinstance(
        model.get_submodule(str(operation.target)), _RECTIFIED
    )


def see(network: Network, pixels: UInt8Array) -> Seen:
    """Show the network one image.

    Args:
        pixels: uint8 [3, H, H], RGB; it is brought to the network as the trial's images were.
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
        found = network.extract(image)
    probabilities = found["logits"][0].softmax(dim=0)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    layers = (
        _measure(layer, found[layer.node][0], found[layer.measured][0]) for layer in network.layers
    )
    return Seen(
        tuple((label, significant(probabilities[label])) for label in order),
        tuple(layers),
        _grad_cam(network, image, order[0]),
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
    """Grad-CAM of a class's logit, float32 [h, w], without what speaks against the class."""
    layer = network.model.get_submodule(network.grad_cam.layer)
    # Frozen parameters ask for no gradient; where all before the layer are frozen, the image must.
    attribution = LayerGradCam(network.model, layer).attribute(
        image.requires_grad_(), target=label, relu_attributions=True
    )
    result: FloatArray = attribution[0, 0].detach().to(torch.float32).numpy()
    return result


def describe_freeze(network: Network, layer: Layer) -> LayerFreeze:
    """What a layer has to do with freezing, by the stages of ``cifar_tune.models.resnet``."""
    part = layer.node.split(".")[0]
    depth = next(depth for depth, names in enumerate(FREEZE_STAGES, 1) if part in names)
    frozen = frozen_stages(network.model, depth)
    fixed = sum(one.numel() for stage in frozen for one in stage.parameters())
    own = dict(network.model.named_modules()).get(layer.name)
    return LayerFreeze(
        layer=layer.name,
        depth=depth,
        is_frozen=network.config.freeze_depth >= depth,
        parameters=sum(one.numel() for one in own.parameters()) if own is not None else 0,
        fixed_parameters=fixed,
        fixed_share=significant(fixed / network.parameters),
        batch_norms=sum(
            isinstance(one, nn.BatchNorm2d) for stage in frozen for one in stage.modules()
        ),
    )


def significant(value: Any) -> float:
    """A number to four significant digits, so that rounding errors do not show."""
    return float(f"{float(value):.4g}")
