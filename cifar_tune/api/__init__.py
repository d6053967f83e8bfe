"""The Python API: what ``import cifar_tune`` offers, as functions.

``cifar_tune/__init__.py`` exports the names, each from its module at its first use. The command
line is written on the same functions. Nothing here prints, exits the process or leaves a signal
handler behind; errors are subclasses of ``CifarTuneError``. May import all rooms but ``cli``. Begin
reading with ``studies.py``, then ``runs.py`` and ``best.py``.
"""
