"""What is learnt from a transfer: rates, quality, and what bounds them. Pure; knows no protocol."""
