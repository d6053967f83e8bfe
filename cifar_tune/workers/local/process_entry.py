"""What the process that workers are forked from loads; no other process imports this module."""

import os

# Who reads what the runner prints is to see its end when the runner ends, not when this process
# does a second later. Workers print into files of their own.
_nowhere = os.open(os.devnull, os.O_WRONLY)
for _stream in (1, 2):
    os.dup2(_nowhere, _stream)

import cifar_tune.workers.local.process  # noqa: E402
import cifar_tune.workers.train_task  # noqa: E402, F401
