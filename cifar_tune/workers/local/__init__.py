"""Workers that are processes of this machine, each with one device and one or several slots.

May import the rest of ``workers``. Begin reading with ``pool.py``, then ``process.py``.
"""
