"""Tallow: file transfer from shell to shell, peer to peer, over WebRTC DataChannels."""

__version__ = "0.1.0"
