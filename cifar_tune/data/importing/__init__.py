"""Readers of the formats that image sets come in: archives, folders, arrays.

Whatever is read here came from outside: it is checked whole before it is stored. May import
``data``. Begin reading with ``imports.py``.
"""
