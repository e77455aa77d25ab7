"""What an environment asks for."""
