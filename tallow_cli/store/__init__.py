"""I/O shells of the disk: what is sent (sources) and where it lands (sinks under a receive root).

Sending
    source            the Source protocol, and FileSource
    scan              what is offered, what is left out
    stream_source     standard input
    memory_source     a text, random bytes

Receiving
    sink              the Sink protocol, and what all sinks share
    destination       which sink an --output means
    directory_sink    a tree, or one named file
    sequential_sink   standard output, a text, nowhere
    placement         what stands where files would go, and what they are called then
    receive_root      the one door through which received names reach the disk
    partial           one unfinished file: written anywhere, hashed, verified
    publishing        from verified to its name: attributes, syncing in batches
    leftovers         what killed receivers left, and the lock of a living one
    unfinished        what would be left if the process ended now
    tree, syncing     directories and links; making things durable in batches
    ordering          pieces out of order, in memory

Both
    filesystem        every operation on the disk: the seam for platforms and for tests that fail on purpose
    failures          from an OSError to a sentence
"""
