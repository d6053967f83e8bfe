"""Models that leave the product: files that plain torchvision loads, their card, and their use."""
