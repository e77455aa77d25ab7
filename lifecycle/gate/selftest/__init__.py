"""The gate proves that it can refuse."""
