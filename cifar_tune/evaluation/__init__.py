"""What trials are worth: intervals, verdicts, ranking, test images and exports.

Alone opens the test images, and records every read of them. Computes typed records and draws
nothing. May import ``storage``, ``workers`` and the rooms above; knows nothing of ``search``,
which stands beside it. Begin reading with ``study.py``, then ``measure.py``, ``verdicts.py`` and
``test_images.py``.
"""
