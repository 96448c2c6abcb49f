"""What people and scripts see: rich panels, plain lines, JSON lines, and the sanitizer before them all."""
