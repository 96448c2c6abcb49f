"""Datagrams in batches: sockets, their buffers, DTLS records, first checks. Knows neither aiortc nor aioice."""
