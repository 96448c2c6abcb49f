"""What ends the program for reasons of its own: a threshold, a library, a signal."""

from __future__ import annotations

from typing import ClassVar

from tallow_cli.errors.base import ExitCode, TallowError, heard


class BelowThresholdError(TallowError):
    exit_code = ExitCode.BELOW_THRESHOLD

    def __init__(self, measured_mbps: float, threshold_mbps: float) -> None:
        super().__init__(
            f"The benchmark measured {measured_mbps:.1f} Mbit/s, below the threshold of {threshold_mbps:.1f} Mbit/s."
        )
        self.measured_mbps = measured_mbps
        self.threshold_mbps = threshold_mbps


class UnsupportedCrypto(TallowError):
    """This machine's `cryptography` (or the OpenSSL in it) lacks an algorithm Tallow cannot do without."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(
            f"The installed `cryptography` package does not offer {algorithm}, which Tallow needs. "
            "Upgrade it: pip install --upgrade cryptography."
        )
        self.algorithm = algorithm


class UnfitLibrary(TallowError):
    """An installed library is of a version Tallow does not know: it lacks the `missing` parts."""

    def __init__(self, library: str, missing: tuple[str, ...]) -> None:
        super().__init__(
            f"The installed `{library}` is of a version that Tallow was not made for (it lacks {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}). Install Tallow anew, in an environment of its own: "
            "pipx reinstall tallow-transfer."
        )
        self.library = library
        self.missing = missing


class Stopped(TallowError):
    """A signal ended it. `connected`: there was a connection, over which the other side may have heard of it.
    `all_arrived`: it had everything by then, and needs nobody to verify and keep it.
    """

    retryable = True
    how: ClassVar[str]

    def __init__(self, *, connected: bool = False) -> None:
        super().__init__(self.how)
        self.connected = connected
        self.all_arrived = False
        self.can_go_on = False
        self.is_stream = False

    @property
    def sentence(self) -> str:
        if not self.connected:
            return f"{self.how}."
        if self.all_arrived:
            return (
                f"{self.how}, but everything had arrived there already. See what the other side says of it."
            )
        go_on = ""
        if self.can_go_on:
            go_on = " Send the same again to go on: what it has kept is not sent twice."
        elif self.is_stream:
            go_on = " Standard input cannot be resumed: what is sent next begins anew."
        return f"{self.how}. The other side {heard(self.peer_told)}.{go_on}"


class Interrupted(Stopped):
    exit_code = ExitCode.INTERRUPTED
    how = "Interrupted"


class Terminated(Stopped):
    exit_code = ExitCode.TERMINATED
    how = "Terminated"
