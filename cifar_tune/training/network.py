"""The network of a trial as it is trained: what need not be computed, or not again, is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import DeviceSplit, place
from cifar_tune.data.search_data import Subset
from cifar_tune.models.full_map_conv import replace_whole_map_convolutions, restore_convolutions
from cifar_tune.models.resnet import initialise_model
from cifar_tune.training.frozen_prefix import FrozenPrefix, takes_features
from cifar_tune.training.optimizer import decay_without_gradient


class TrainingNetwork:
    """A network on its device, and the images in the form that it takes them.

    Args:
        has_graph: whether its training step is captured as one graph.

    Attributes:
        model: what is trained; torchvision's network again after ``restore``.
    """

    def __init__(
        self,
        config: TrialConfig,
        classes: int,
        pretrained: Mapping[str, Tensor] | None,
        device: torch.device,
        *,
        has_graph: bool = False,
    ) -> None:
        self.model = initialise_model(config, classes, pretrained).to(device)
        self._config = config
        self._device = device
        self._augments = config.augments
        replace_whole_map_convolutions(self.model, config.input_size)
        # Of a step that is one graph, what augmented images pass through is a part.
        cuts = takes_features(config) and not (has_graph and self._augments)
        self._prefix = FrozenPrefix(self.model, config) if cuts else None

    def place_training(self, part: Subset, features: Path | None) -> DeviceSplit:
        """Bring the training images to the device.

        ``features`` is a folder for what the frozen part makes of them; None has none.
        """
        return self._place(part, features, augmented=self._augments)

    def place_validation(self, part: Subset, features: Path | None) -> DeviceSplit:
        """Bring the validation images to the device; likewise."""
        augmented = self._augments and self._config.augment_validation
        return self._place(part, features, augmented=augmented)

    def restore(self, epochs: int) -> nn.Module:
        """Put back what was left out, in torchvision's shapes, with what was trained meanwhile.

        Args:
            epochs: that were trained.
        """
        if self._prefix is not None:
            self._prefix.put_back()
        restore_convolutions(self.model, decay_without_gradient(self._config, epochs))
        return self.model

    def _place(self, part: Subset, features: Path | None, *, augmented: bool) -> DeviceSplit:
        split = place(part, self._config, self._device)
        if self._prefix is None:
            return split
        return self._prefix.replace_images(split, features, augmented=augmented)
