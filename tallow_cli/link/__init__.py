"""What a link between two peers is, whatever stack carries it: its channels and its description."""
