"""One trial, without Optuna: the step, the loop, the optimiser, checkpoints and predictions.

``run_trial`` trains one configuration and can stop, save and continue it exactly. May import
``models``, ``data``, ``config`` and the root of the package. Begin reading with ``objective.py``,
then ``trainer.py`` and ``step.py``.
"""
