"""The transfer protocol, sans-IO: no clock, no sockets, no files, no chance; `now` is an argument."""
