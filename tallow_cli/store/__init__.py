"""I/O shells of the disk: what is sent (sources) and where it lands (sinks under a receive root).

source            the Source protocol, FileSource          sink              the Sink protocol and its
events scan              what is offered, what is left out        destination       which sink an --output
means stream_source     standard input                           directory_sink    a tree, or one named
file memory_source     a text, random bytes                     sequential_sink   standard output, a text,
nowhere

placement         what stands where files would go, and what they are called then
receive_root      the one door through which received names reach the disk
partial           one unfinished file: written anywhere, hashed, verified
tree, syncing     directories and links; making things durable in batches
filesystem        every operation on the disk: the seam for platforms and for tests that fail on purpose
ordering          pieces out of order, in memory
failures          from an OSError to a sentence
"""
