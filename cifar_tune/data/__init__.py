"""Images: image sets, splits, augmentation and batches on the device.

``SearchData`` holds the training and validation images of a study and no test image. ``importing``
reads the formats that images come in. May import ``config`` and the root of the package. Begin
reading with ``search_data.py``, then ``augment.py``.
"""
