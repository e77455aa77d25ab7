"""The columns of a row to a number."""
