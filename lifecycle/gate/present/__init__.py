"""A verdict for people."""
