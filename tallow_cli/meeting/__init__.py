"""How two peers find each other: the signaling client, its addresses, discovery on the local network."""
