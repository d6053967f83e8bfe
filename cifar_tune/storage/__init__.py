"""Optuna's database, the files beside it, and the lease that lets one run at a time write a study.

May import ``training`` and the rooms above it; knows nothing of ``workers``, which stand beside
it. Begin reading with ``studies.py``, then ``trials.py`` and ``lease.py``.
"""
