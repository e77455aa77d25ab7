"""The reference job, measured."""
