"""Plotly figures of a study's report, a module for each kind of record that is drawn.

May import the rest of ``reports``. Begin reading with ``named_trials.py``.
"""
