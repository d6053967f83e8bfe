"""Speed against plain loops, what the runner itself costs, and how often verdicts are right.

Each case runs in a process of its own, beside the plain PyTorch loop that it is compared with. May
import every room but ``cli``. Begin reading with ``cases.py``, then ``plain_loop.py``.
"""
