"""Pretrained weights of ResNet-18: those in the package, ImageNet's, and the user's own."""
