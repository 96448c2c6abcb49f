"""Tallow's signaling server: relays opaque messages between the members of a room, and knows nothing else."""
