"""The `tallow` command line: options become settings, results become exit codes. Imports lazily."""
