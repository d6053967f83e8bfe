"""Study files, search spaces and trial configurations.

A study file is read and checked here, once, and becomes a ``StudySpec``; a trial's full
configuration is a ``TrialConfig``, on whose fields the hyperparameters are declared, each once.
Imports only the root of the package. Begin reading with ``study_file.py``, then ``trial.py``.
"""
