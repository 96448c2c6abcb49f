"""`tallow serve`: the signaling server alone. It is `tallow-signaling`, whose options these are."""

from __future__ import annotations

from signaling.options import HELP, command

__all__ = ["EXAMPLES", "HELP", "SUMMARY", "command"]

SUMMARY = "Run the signaling server alone."
EXAMPLES = """\
tallow serve --host 0.0.0.0
tallow serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem
tallow serve --trust-proxy 127.0.0.1
"""
