"""From a raw table to an immutable dataset version."""
