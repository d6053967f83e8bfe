"""ResNet-18, its heads and its pretrained weights.

Builds torchvision's network for a configuration, and reads and writes files of weights;
``bundled`` holds the weights that come with the package. May import ``data``, ``config`` and the
root of the package. Begin reading with ``resnet.py``, then ``weights.py``.
"""
