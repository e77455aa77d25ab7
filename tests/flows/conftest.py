"""Every test of this folder runs its flows against the session's server."""

import pytest


@pytest.fixture(autouse=True)
def _on_the_server(server: str) -> None:
    """Start it before the first flow."""
