"""How a person or CI starts it: the `mlops` command."""
