"""The columns of a row to a class."""
