"""The training loop that ours is compared with: PyTorch's and torchvision's own parts."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.augment import FLIP_PROBABILITY, ROTATION_DEGREES
from cifar_tune.data.cifar10 import CLASSES, IMAGE_SIZE, LabelledImages
from cifar_tune.models.resnet import build_model, find_dropouts, set_training
from cifar_tune.training.optimizer import make_optimizer, make_schedule, step_schedule
from cifar_tune.training.weight_average import DELAY


class PlainImages(Dataset[tuple[Tensor, int]]):
    """A split as torchvision's own data set class has it: a PIL image, then its transforms."""

    def __init__(self, part: LabelledImages, config: TrialConfig) -> None:
        self._pixels = part.images.transpose(0, 2, 3, 1)
        self._labels = part.labels
        self._transform = plain_transform(config)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self._pixels[index])
        return self._transform(picture), int(self._labels[index])


def plain_transform(config: TrialConfig) -> Callable[[Image.Image], Tensor]:
    """Return a trial's transforms as torchvision has them, image by image."""
    from torchvision import transforms  # half a second that a plan need not wait for

    steps: list[object] = []
    strength, flips = config.augmentation_strength, config.flip_probability
    if config.crop_padding:
        steps.append(transforms.RandomCrop(IMAGE_SIZE, config.crop_padding))
    if config.auto_augment:
        steps.append(transforms.RandomApply([transforms.TrivialAugmentWide()], config.auto_augment))
    if config.input_size != IMAGE_SIZE:
        steps.append(transforms.Resize(config.input_size))
    flips = min(FLIP_PROBABILITY * strength, 0.5) if flips is None else flips
    if flips:
        steps.append(transforms.RandomHorizontalFlip(flips))
    if strength:
        steps.append(transforms.RandomRotation(ROTATION_DEGREES * strength))
    steps.append(transforms.ToTensor())
    steps.append(transforms.Normalize(config.normalize_mean, config.normalize_std))
    if config.erase_size:
        steps.append(partial(_erase_plainly, side=round(config.erase_size * config.input_size)))
    return transforms.Compose(steps)  # type: ignore[no-any-return]


def _erase_plainly(image: Tensor, side: int) -> Tensor:
    """Erase a square around a pixel, as the code of DeVries and Taylor (2017) does."""
    size = image.shape[-1]
    left, top = (int(place) - side // 2 for place in torch.randint(size, (2,)))
    image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    return image


class PlainLoop:
    """The assignment's training loop: DataLoader as it comes, PIL transforms, eager fp32, Adam.

    It starts from ``weights``, torchvision's tensors of everything but the head. With ``is_tuned``
    it trains as a competent user would: as many workers as there are cores, images and weights
    channels-last, ``torch.compile``.
    """

    def __init__(
        self,
        part: LabelledImages,
        config: TrialConfig,
        weights: Mapping[str, Tensor] | None,
        device: torch.device,
        *,
        is_tuned: bool = False,
    ) -> None:
        torch.manual_seed(derive_seed(config.seed, "plain"))
        self._config, self._device = config, device
        self._layout = torch.channels_last if is_tuned else torch.contiguous_format
        model = build_model(config, len(CLASSES), weights)
        for name, layer in find_dropouts(model).items():
            model.set_submodule(name, torch.nn.Dropout(layer.p))
        self._model = model.to(device).to(memory_format=self._layout)
        self._network = torch.compile(self._model) if is_tuned else self._model
        self._optimizer = make_optimizer(self._model, config, is_plain=True)
        self._schedule = make_schedule(self._optimizer, config)
        self._average = _plain_average(self._model, config) if config.ema_decay else None
        self._part, self._is_tuned = part, is_tuned
        self._epochs = 0
        self._loader = self._make_loader(config)

    def _make_loader(self, config: TrialConfig) -> DataLoader[Any]:
        return DataLoader(
            PlainImages(self._part, config),
            config.batch_size,
            shuffle=True,
            num_workers=(os.cpu_count() or 1) if self._is_tuned else 0,
            persistent_workers=self._is_tuned,
            pin_memory=self._is_tuned and self._device.type == "cuda",
        )

    def train_epoch(self) -> float:
        """Train one epoch and return its mean loss."""
        total: float = 0.0
        off = self._config.augmentation_off_epochs
        if off and self._epochs == max(self._config.epochs - off, 0):
            self._config = _without_augmentation(self._config)
            self._loader = self._make_loader(self._config)
        self._epochs += 1
        set_training(self._model, self._config)
        for batch in self._batches(self._loader):
            images, labels = _mix_plainly(*batch, self._config) if self._config.mixes else batch
            loss = self._differentiate(images, labels)
            if self._config.sam_radius:
                self._differentiate_uphill(images, labels)
            self._optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self._model)
            total += loss.item() * len(labels)
        step_schedule(self._schedule)
        return total / len(self._part)

    def _differentiate(self, images: Tensor, labels: Tensor) -> Tensor:
        self._optimizer.zero_grad()
        outputs, smoothing = self._network(images), self._config.label_smoothing
        loss = functional.cross_entropy(outputs, labels, label_smoothing=smoothing)
        loss.backward()
        return loss

    def _differentiate_uphill(self, images: Tensor, labels: Tensor) -> None:
        """Take the gradients of SAM; batch norm's averages stay."""
        state = {name: value.clone() for name, value in self._model.state_dict().items()}
        moved = [value for value in self._model.parameters() if value.grad is not None]
        gradients = [value.grad for value in moved if value.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        with torch.no_grad():
            for value, gradient in zip(moved, gradients, strict=True):
                value.add_(self._config.sam_radius * gradient / norm)
        self._differentiate(images, labels)
        self._model.load_state_dict(state)

    @torch.no_grad()
    def accuracy(self, part: LabelledImages) -> float:
        """Return the fraction of images that is classified rightly, without augmentation."""
        config = _without_augmentation(self._config)
        loader = DataLoader(PlainImages(part, config), config.batch_size)
        model = self._model if self._average is None else self._average
        model.eval()
        right = 0
        for images, labels in self._batches(loader):
            right += int((model(images).argmax(dim=1) == labels).sum().item())
        return right / len(part)

    def _batches(self, loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader:
            yield images.to(self._device, memory_format=self._layout), labels.to(self._device)


def _without_augmentation(config: TrialConfig) -> TrialConfig:
    images = {"augmentation_strength": 0.0, "flip_probability": None, "crop_padding": 0}
    more = {"auto_augment": 0.0, "erase_size": 0.0, "mixup_alpha": 0.0, "cutmix_probability": 0.0}
    return replace(config, **images, **more)  # type: ignore[arg-type]


def _mix_plainly(images: Tensor, labels: Tensor, config: TrialConfig) -> tuple[Tensor, Tensor]:
    """Mix a batch by torchvision's mixup and CutMix, one of the two."""
    from torchvision.transforms import v2

    if torch.rand(()) < config.cutmix_probability:
        mix: v2.Transform = v2.CutMix(num_classes=len(CLASSES))
    elif config.mixup_alpha:
        mix = v2.MixUp(alpha=config.mixup_alpha, num_classes=len(CLASSES))
    else:
        return images, labels
    mixed: tuple[Tensor, Tensor] = mix(images, labels)
    return mixed


def _plain_average(model: torch.nn.Module, config: TrialConfig) -> AveragedModel:
    def update(averages: Any, weights: Any, count: Any) -> None:
        decay = min(config.ema_decay, int(count) / (int(count) + DELAY))
        get_ema_multi_avg_fn(decay)(averages, weights, count)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def software_line() -> str:
    """Return the versions that a measurement depends on."""
    return f"PyTorch {torch.__version__}, Python {platform.python_version()}"
