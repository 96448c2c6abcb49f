"""One send or one receive, from code to verified files: emits typed events, prints nothing."""
