"""The SCTP fast path, sans-IO: packet codec, windows, acknowledgements, recovery, congestion control."""
