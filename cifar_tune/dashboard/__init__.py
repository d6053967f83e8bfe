"""optuna-dashboard, the guard before it, the notes it shows and the page of the queue.

``notes`` keeps what the browser shows of a study up to date while it runs. May import ``reports``
and the rooms above. Begin reading with ``server.py``, then ``guard.py``.
"""
