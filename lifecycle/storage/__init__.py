"""Where things lie: files, volumes, the databases of a state."""
