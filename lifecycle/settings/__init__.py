"""What an environment asks for: `load` reads it."""

from lifecycle.settings.environment import Settings, checked, load, origins

__all__ = ["Settings", "checked", "load", "origins"]
