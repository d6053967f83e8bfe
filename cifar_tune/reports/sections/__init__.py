"""Sections of a study's report, a module for each.

May import the rest of ``reports``. A section turns records into blocks; ``study_page.py`` puts
them in order.
"""
