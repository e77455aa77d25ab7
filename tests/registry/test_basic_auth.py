"""A real `mlflow server --app-name basic-auth`: with credentials everything works, without them one line says so."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
import requests
from werkzeug.security import generate_password_hash

from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.registry import catalog, promotion, store
from lifecycle.settings import Settings
from tests.conftest import train_model
from tests.registry.conftest import serving

ADMIN, PASSWORD = "admin", "canary-password-of-admin"
READER, OF_READER = "reader", "canary-password-of-reader"
CONFIG = f"""[mlflow]
default_permission = READ
database_uri = sqlite:///auth.db
admin_username = {ADMIN}
admin_password = {PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[str]:
    """The address of the server, beside whose database lies dataset `news`."""
    folder = tmp_path_factory.mktemp("auth") / "state"
    shutil.copytree(prepared, folder)
    (folder / "auth.ini").write_text(CONFIG)
    environment = {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of a test"}
    with serving(folder, environment, app_name="basic-auth") as url:
        made = requests.post(
            f"{url}/api/2.0/mlflow/users/create",
            json={"username": READER, "password": OF_READER},
            auth=(ADMIN, PASSWORD),
            timeout=240,
        )
        assert made.ok, made.text
        _hash_in_no_time(folder / "auth.db")
        yield url


def _hash_in_no_time(users: Path) -> None:
    """Let the server compare passwords with hashes of one round: its own cost a third of a second for each request."""
    with closing(sqlite3.connect(users)) as database, database:
        for name, password in ((ADMIN, PASSWORD), (READER, OF_READER)):
            hashed = generate_password_hash(password, method="pbkdf2:sha256:1")
            change = "UPDATE users SET password_hash = ? WHERE username = ?"
            assert database.execute(change, (hashed, name)).rowcount == 1


@pytest.fixture
def config(address: str, news: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return settings.load("dev", home=news.state, tracking_uri=address)


@pytest.fixture(scope="module")
def models() -> list[ModelRef]:
    """The model that the first test trains."""
    return []


def trained(config: Settings, models: list[ModelRef]) -> ModelRef:
    if not models:
        models.append(train_model(config))
    return models[0]


def as_user(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def test_with_credentials_everything_works_and_without_one_line_says_which_are_missing(
    config: Settings, models: list[ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, ADMIN, PASSWORD)
    target = store.target_of(config, "sentiment")
    model = promotion.enter_challenger(target, trained(config, models))
    evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    assert loading.load(model).predict(None, pd.DataFrame({"text": ["profit rose"]}))["score"].between(0, 1).all()

    for name, password in (("", ""), (ADMIN, "canary-wrong"), ("nobody", PASSWORD)):
        as_user(monkeypatch, name, password)
        for question in (
            lambda: catalog.history(target),
            lambda: store.versions(target),
            lambda: loading.load(model),
            lambda: train_model(config, seed=1),
        ):
            with pytest.raises(ConfigError, match=r"refused the credentials.*MLFLOW_TRACKING_USERNAME") as refused:
                question()
            assert refused.value.exit_code == 2
            assert not [word for word in ("canary", "\n", "Traceback") if word in str(refused.value)]


def test_who_may_only_read_is_told_what_is_not_permitted(
    config: Settings, models: list[ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, ADMIN, PASSWORD)
    target = store.target_of(config, "read")
    promotion.enter_challenger(target, trained(config, models))
    as_user(monkeypatch, READER, OF_READER)
    assert [version.version for version in store.versions(target)] == [1]
    with pytest.raises(ConfigError, match="does not permit it") as refused:
        promotion.enter_challenger(target, train_model(config, seed=3))
    assert "canary" not in str(refused.value)
