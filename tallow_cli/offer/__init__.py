"""What a sender offers: the manifest, and which of its names may become paths of the receiver. Pure."""
