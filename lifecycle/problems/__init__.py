"""The kinds of models: one folder each, and one entry in the table below."""
