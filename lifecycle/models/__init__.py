"""What a model is: one contract, one table of types, one way to load."""
