"""Workers on the nodes of a Ray cluster.

May import the rest of ``workers``; Ray itself is an optional dependency. Begin reading with
``pool.py``.
"""
