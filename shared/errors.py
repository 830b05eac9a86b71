"""Every way a job can fail, as the caller is told it.

JobError
├─ BadInput         an image cannot be fetched or decoded, a LoRA does not fit the model, ...
├─ OutOfMemory      the job does not fit on the device
├─ NoPicture        the model made no numbers that could be shown
├─ TimedOut         the device did not finish it in time
├─ WorkerLost       its worker died, on every attempt
├─ Cancelled        its owner, or the deadline that came with it, ended it
├─ NotStarted       no worker took it in time
└─ InternalError    our fault, after every attempt
"""


class JobError(Exception):
    """A job's final failure: `code` is stable, the message is for the caller."""

    code = "job_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(JobError):
    """What the caller gave cannot be used; another attempt would not help."""

    code = "bad_input"


class OutOfMemory(JobError):
    """The job does not fit on the device."""

    code = "out_of_memory"


class NoPicture(JobError):
    """The model made no numbers that could be shown; it would not for another attempt either."""

    code = "no_picture"


class TimedOut(JobError):
    """The device did not finish the job in time."""

    code = "timed_out"


class WorkerLost(JobError):
    """Every worker that took the job died with it."""

    code = "worker_lost"


class Cancelled(JobError):
    """Ended by its owner, or by the deadline that came with it."""

    code = "cancelled"


class NotStarted(JobError):
    """No worker took it within the time that the deployment sets."""

    code = "not_started"


class InternalError(JobError):
    """Our fault; the details are in the log, under the job's id."""

    code = "internal_error"
