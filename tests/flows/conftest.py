"""Every test of this folder runs its flows against the session's server."""

from contextlib import nullcontext

import pytest


@pytest.fixture
def replayed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's replay in this process: what starts a fresh one is tested by the release and by the gate's tests."""
    from lifecycle.gate.proof import replay

    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    monkeypatch.setattr(replay, "ahead", lambda _=None: nullcontext())


@pytest.fixture(autouse=True)
def _on_the_server(server: str) -> None:
    """Start it before the first flow."""
