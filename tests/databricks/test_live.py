"""What the tests that write need of a workspace, looked up without writing: `pytest -m live` begins with this."""

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError

from lifecycle.bundle import definition
from tests.conftest import ROOT


@pytest.mark.live
def test_the_workspace_lets_us_in_and_holds_what_the_others_need(client: WorkspaceClient) -> None:
    schema, volume = definition.read(ROOT, "dev").places
    try:
        assert client.current_user.me().user_name
        assert client.schemas.get(schema.name).full_name == schema.name
        assert client.volumes.read(volume.name).full_name == volume.name
        next(iter(client.jobs.list(limit=1)), None)
    except DatabricksError as error:
        pytest.exit(f"Nothing was written: the workspace lacks what the tests need: {error}", returncode=1)
