"""Hyperparameter studies of ResNet-18 on CIFAR-10 that stand up to a reader."""

__version__ = "0.1.0"
