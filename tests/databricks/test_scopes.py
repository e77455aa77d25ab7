"""A job reads the secrets that its request refers to from a secret scope, and says which of them it cannot have."""

import os

import pytest
from databricks.sdk import WorkspaceClient

from lifecycle.core import secrets
from lifecycle.core.errors import NotFoundError
from lifecycle.databricks import scopes

pytestmark = pytest.mark.usefixtures("databricks_env")

SOURCE = "https://store.example/news.csv?${MLOPS_SECRET_NEWS_KEY}"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLOPS_SECRET_NEWS_KEY", "MLOPS_SECRET_OTHER"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)


def test_a_secret_of_a_request_comes_from_the_scope_unless_the_process_has_it(
    client: WorkspaceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.secrets.create_scope("mlops")
    client.secrets.put_secret("mlops", "news_key", string_value="sig=abc")
    scopes.give(SOURCE, "")
    assert "MLOPS_SECRET_NEWS_KEY" not in os.environ
    scopes.give(SOURCE, "mlops")
    assert secrets.revealed(SOURCE) == "https://store.example/news.csv?sig=abc"
    monkeypatch.setenv("MLOPS_SECRET_OTHER", "mine")
    scopes.give("${MLOPS_SECRET_OTHER}", "mlops")
    assert secrets.revealed("${MLOPS_SECRET_OTHER}") == "mine"
    request = '{"data_name": "news", "data_version": "1", "source": {"uri": "${MLOPS_SECRET_MISSING}"}}'
    with pytest.raises(NotFoundError, match="The secret missing of the scope mlops is not there"):
        scopes.give(request, "mlops")
    with pytest.raises(NotFoundError, match="Scope none does not exist"):
        scopes.give(request, "none")
