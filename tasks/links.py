"""Where people look at a flow run."""

from typing import Any

from prefect.utilities.urls import url_for

from lifecycle.core import secrets


def page_of(run_id: Any) -> str:
    """The page of a flow run in Prefect's UI, without credentials of the server; empty where it has none."""
    return secrets.public(url_for("flow-run", run_id) or "")
