"""A link over WebRTC: aiortc and aioice with the engines, walls and hooks that are ours."""
