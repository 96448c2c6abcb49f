"""Codes, the password-authenticated handshake and sealed packets; pure given entropy.

    codes.py      what the user types: generate, parse, complete
    wordlist.py   the vocabulary of codes
    handshake.py  three bodies over an untrusted relay -> HandshakeResult
    bodies.py     their bytes
    pake.py       one password-authenticated key exchange (SPAKE2)
    kem.py        ML-KEM-768
    keys.py       the key schedule, SessionKeys, the link confirmation
    seal.py       packets under those keys

Driver contract
    Nothing here reads a clock, a socket or the disk (wordlist.py alone reads a data file of this package),
    and nothing waits: every call consumes one input and returns or raises at once.

    joiner (has typed the code)                        host (made the code)
        body = joiner.hello()                 -> send
                                                       body = host.receive_hello(body, description)   -> send
        body, result = joiner.receive_reply(body, d)  -> send
                                                       result = host.receive_confirm(body)
    Whatever a call raises, send `abort_body(error)` to the other side and drop the object: a handshake object
    serves one attempt, and the host's code is spent from its first `receive_hello` on, whatever came of it.

    `entropy` is `Callable[[int], bytes]` and must be a cryptographic source (`os.urandom`) outside tests. One
    draw is out of its reach: OpenSSL's own generator makes the ML-KEM encapsulation at the host.

Errors: `InvalidCode` (the user's text), `WrongCodeError` (the two sides do not share the code),
`PeerProtocolError` (everything else a peer or the relay can do wrong), `UnsupportedCrypto` (this OpenSSL has
no ML-KEM-768).
"""
