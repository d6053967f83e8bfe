"""Callbacks that log trials to TensorBoard, MLflow and Weights & Biases.

Each is a ``TrialCallback`` of ``search/trial_callbacks.py`` for ``run_study`` and ``Objective``,
and needs a package of an extra, which is imported when the callback is made. May import ``search``
and the rooms above. Begin reading with ``tensorboard.py``.
"""
