"""Where trials are trained: in the run's own process, in local processes or on a Ray cluster.

Every kind is a ``Pool`` that takes tasks and gives back events; none opens the database. May
import ``training`` and the rooms above it; knows nothing of ``storage``, which stands beside it.
Begin reading with ``protocol.py``, then ``inline.py`` and ``choose.py``.
"""
