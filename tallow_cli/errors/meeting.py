"""The two did not meet: no server (3), nobody there (4), the wrong words (5)."""

from __future__ import annotations

from tallow_cli.errors.base import ExitCode, TallowError, seconds_text


class SignalingError(TallowError):
    exit_code = ExitCode.SIGNALING_UNREACHABLE
    retryable = True


class ServerUnreachable(SignalingError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The signaling server at {url} cannot be reached ({reason}). "
            "Check the address and that `tallow serve` runs there."
        )
        self.url = url
        self.reason = reason


class NothingListens(ServerUnreachable):
    """The machine is there, and says that no program listens at that port."""


class SenderUnreachable(SignalingError):
    """Discovery found the sender, and its own server does not answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The sender was found at {url} and cannot be reached there ({reason}): a firewall on its machine or in "
            "the network lets no connection in. Have it let in one port and send with that --port, or name a server "
            "that both can reach with --server."
        )
        self.url = url
        self.reason = reason


class ServerRefused(SignalingError):
    """The server answered, and said no (a limit, an unsupported version)."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The signaling server at {url} refused: {reason}. Try again later or use another server."
        )
        self.url = url
        self.reason = reason


class ServerProtocolError(SignalingError):
    retryable = False

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(
            f"The server at {url} sent something that is not Tallow signaling ({detail}). "
            "Check the address; both ends must run compatible versions."
        )
        self.url = url


class NoPeerError(TallowError):
    exit_code = ExitCode.NO_PEER
    retryable = True


class PeerNeverCame(NoPeerError):
    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"Nobody came within {seconds_text(waited_s)} s. Run the command again, or wait longer with --timeout."
        )
        self.waited_s = waited_s


class UnknownNameplate(NoPeerError):
    def __init__(self, nameplate: str, where: str) -> None:
        super().__init__(
            f"No sender is waiting under the number {nameplate} {where}. "
            "Check the code, that the sender is still running, and that nobody has used the code before you."
        )
        self.nameplate = nameplate


class WrongCodeError(TallowError):
    exit_code = ExitCode.WRONG_CODE

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            detail
            or "The code was wrong, so the two sides do not share a secret; nothing was sent. "
            "A code works once: ask the sender for a fresh one."
        )


class ProofNotTaken(WrongCodeError):
    """The receiver's: the sender has proved that it knows the code, but does not take our proof."""

    def __init__(self) -> None:
        super().__init__(
            "The sender knows the code, but did not get this side's proof of it as it was sent, so the code is spent "
            "and nothing was sent. The signaling server may be altering messages. Ask the sender for a fresh code, or "
            "use another server."
        )
