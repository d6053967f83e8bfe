"""Speed against plain loops, what the runner itself costs, and how often verdicts are right.

May import ``dashboard``, ``reports`` and the rooms above. Begin reading with ``cases.py``.
"""
