"""Models that others have made: read in a child, converted, registered."""
