"""Pictures (PNG) of a trial: learning curves, the confusion matrix and activation maps.

Each module computes what one kind of picture shows or draws it with Matplotlib. May import the
rest of ``training``. Begin reading with ``draw.py``.
"""
