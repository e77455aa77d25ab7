"""A text to a class."""
