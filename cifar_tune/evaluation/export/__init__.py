"""Exports of models and of studies, and the import of a study.

May import the rest of ``evaluation``. Begin reading with ``model.py`` and ``study.py``.
"""
