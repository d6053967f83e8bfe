"""The run of a study: samplers, pruners, the plan, the budget, the dispatcher and the runner.

Decides which trial is trained next and when a trial is stopped. No module here can reach a test
image, since those are opened in ``evaluation``, which stands beside this room. May import
``storage``, ``workers`` and the rooms above. Begin reading with ``runner.py``, then
``dispatcher.py`` and ``pruners.py``.
"""
