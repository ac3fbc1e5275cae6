"""Errors of the runtime, split by whose fault they are."""

from __future__ import annotations


class RuntimeFault(Exception):
    """Base of what the runtime reports to its caller. The message is one sentence for the user."""


class NoSuchContainer(RuntimeFault):
    """The supervisor does not know this id."""


class NotPaused(RuntimeFault):
    """It runs already."""


class StartFailed(RuntimeFault):
    """The container's program could not be started. `exit_status` is Docker's: 127 not found, 126 not executable, 128 else."""

    def __init__(self, message: str, exit_status: int = 128) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class BadImage(RuntimeFault):
    """An archive that is no image, is damaged, or tries to leave its root."""


class UnpackFailed(BadImage):
    """A tar that can't be unpacked, with the preface that Docker gives to all that its unpacking child says."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Error processing tar file(exit status 1): {reason}")


class NoSuchImage(RuntimeFault):
    """No local image of this reference. Message: `No such image: busybox:nope`."""


class ImageInUse(RuntimeFault):
    """A container uses it."""


class SupervisorGone(RuntimeFault):
    """The supervisor's socket closed in the middle of a request."""


class RegistryFailed(RuntimeFault):
    """A registry can't be reached, refuses, or breaks its word. `http_status` is what the Engine API answers."""

    http_status = 500


class RegistryUnreachable(RegistryFailed):
    """Nothing came, or not all of it: worth another try, or another endpoint."""


class RegistryRefused(RegistryFailed):
    """The registry said no. `code` is the distribution specification's (`MANIFEST_UNKNOWN`), empty when it gave none."""

    def __init__(self, message: str, code: str = "", http_status: int = 500) -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status


class TreeFault(RuntimeFault):
    """A request on a container's files can't be done. `kind`: as the worker's (runtime/storage/requests.py)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
