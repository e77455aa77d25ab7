"""The readers of a table, one per format: each yields the header as row 0, then the data rows, every cell as text."""

Row = tuple[int, int, list[str]]
"""Number of the data row from 1, number of its first line in the file from 1, and its cells."""
