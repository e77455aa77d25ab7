"""Two texts to a class: what the first says of the second, or the second answers to the first."""
