"""`tallow serve`: the signaling server alone."""

from __future__ import annotations

from typing import Annotated

import typer

HELP = "Run the signaling server alone, for senders and receivers that name it with --server."
SUMMARY = "Run the signaling server alone."
EXAMPLES = """\
tallow serve --host 0.0.0.0
tallow serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem
"""


def command(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="Port; 0 picks one.")
    ] = 8765,
    tls_cert: Annotated[
        str | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain (PEM).")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM).")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log connections and rooms.")] = False,
) -> int:
    """Run `tallow serve`; the parameters are its options. Returns the exit code."""
    from signaling.__main__ import ServerSettings, run_server

    return run_server(
        ServerSettings(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, verbose=verbose)
    )
