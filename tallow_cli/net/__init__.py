"""I/O shells of the network: aiortc connections, channels, the signaling client, discovery."""
