"""The command line: one module a group of commands, which parses, calls the package and prints.

Everything may be imported here, inside functions where it is slow to load, so that ``--help``
answers at once. Begin reading with ``app.py``.
"""
