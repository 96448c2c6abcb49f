"""I/O shells of the disk: what is sent (sources) and where it lands (sinks under a receive root)."""
