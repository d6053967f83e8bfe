"""optuna-dashboard, the guard before it, the notes it shows and the page of the queue.

May import ``reports`` and the rooms above. Begin reading with ``server.py``, then ``guard.py``.
"""
