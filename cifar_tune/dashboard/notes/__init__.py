"""Notes and figures of studies and trials, as optuna-dashboard shows them.

May import the rest of ``dashboard``. Begin reading with ``annotator.py``.
"""
