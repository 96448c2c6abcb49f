"""Congestion control, sans-IO: the seam (`controller`), the algorithms, the pacer, and the rates they are fed."""
