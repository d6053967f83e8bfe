"""Every error that a user can see, with the exit code that each ends a command with.

::

    CifarTuneError
    ├── InputError (2)            what was asked for cannot be done as asked
    │   ├── StudyFileError        a study file, or an override of one, is wrong
    │   ├── StudyMismatchError    the stored study was made with other settings
    │   ├── StudyBusyError        another process is running the study
    │   ├── DataError             images are missing or are not what they should be
    │   ├── WeightsError          pretrained weights are missing or are not what they should be
    │   ├── DeviceError           the device asked for is not there
    │   └── StorageError          the database cannot be opened, read or written
    └── WorkError (1)             the work was begun and failed
        ├── TrialFailedError      a trial ended with an error that is not its configuration's
        ├── UnfinishedError       the time did not suffice for all that was asked for
        ├── LeaseLostError        another process took the study over
        └── StudyGoneError        the study was deleted or renamed while it ran

``NonFiniteLossError`` is not in the tree: it ends a trial, not a command. The runner stores it with
the trial as a result of its configuration and goes on. Nor is ``TrainingStopped``: it ends a
training that was asked to stop, once its state is saved.
"""

from __future__ import annotations


class CifarTuneError(Exception):
    """An error whose message is the whole of what the user is told.

    Example:
        >>> try:
        ...     ct.run_study("dropout", device="cuda")
        ... except ct.CifarTuneError as error:
        ...     print(error)
    """

    exit_code = 1


class InputError(CifarTuneError):
    """What was asked for cannot be done as asked; nothing was written."""

    exit_code = 2


class StudyFileError(InputError):
    """A study file or an override of one is wrong; the message has one line for each fault."""


class StudyMismatchError(InputError):
    """The stored study was made with other settings; the message names each difference."""


class StudyBusyError(InputError):
    """Another process, which is alive, is running the study."""


class DataError(InputError):
    """Images are missing or are not the ones that their digest names."""


class WeightsError(InputError):
    """Pretrained or kept weights are missing or are not the ones that were asked for."""


class DeviceError(InputError):
    """The device asked for is not on this machine."""


class StorageError(InputError):
    """The database cannot be opened, read or written."""


class WorkError(CifarTuneError):
    """The work was begun and failed; what was finished before is stored."""


class TrialFailedError(WorkError):
    """A trial ended with an error that its configuration does not explain."""


class UnfinishedError(WorkError):
    """The time or the budget did not suffice; what is done is stored, and can be gone on with."""


class LeaseLostError(WorkError):
    """Another process took over the study while this one was not heard from."""


class StudyGoneError(WorkError):
    """The study was deleted or renamed by another program while it ran."""


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or not a number.

    Attributes:
        epoch: The epoch in which it happened, counted from 1.
        step: The first step of that epoch with such a loss, counted from 1.
    """

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"the training loss is not finite in epoch {epoch}, step {step}")
        self.epoch = epoch
        self.step = step


class TrainingStopped(Exception):  # noqa: N818  (nothing went wrong)
    """The training was asked to stop, and has saved its state if it was to."""
