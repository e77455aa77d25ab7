"""What an embedded MLflow database holds, read from its tables: MLflow alone writes them.

Its client takes 1.5 s to be imported and 7 ms for each answer, and a promotion asks it 25 times. So what this project
asks again and again is read here, where the tables are those of a release that is known; of any other one, and of a
server, the client is asked. `tests/unit/test_embedded_tables.py` holds both to the same answers.
"""

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lifecycle.storage import embedded
from lifecycle.tracking.client import prepared, translated

KNOWN = {"dc11669786a5"}
"""Revisions of MLflow's tables that are read here: of 3.17."""
WORKSPACES = "MLFLOW_ENABLE_WORKSPACES"
"""By this variable several registries share the tables."""
JSON = ("tags", "aliases")
NO_PROMPT = """NOT EXISTS (SELECT 1 FROM registered_model_tags AS p WHERE p.workspace = 'default' AND p.name = m.name
    AND p.key = 'mlflow.prompt.is_prompt')"""
"""MLflow keeps prompts among the models, and hides them from who asks for models."""
NAMES = f"SELECT name FROM registered_models AS m WHERE workspace = 'default' AND {NO_PROMPT} ORDER BY name"  # noqa: S608
MODEL = f"""
SELECT name, COALESCE(creation_time, 0) AS created_at, COALESCE(description, '') AS description,
    (SELECT json_group_object(key, COALESCE(value, '')) FROM registered_model_tags AS t
     WHERE t.workspace = m.workspace AND t.name = m.name) AS tags,
    (SELECT json_group_object(alias, version) FROM registered_model_aliases AS a
     WHERE a.workspace = m.workspace AND a.name = m.name ORDER BY alias) AS aliases
FROM registered_models AS m WHERE workspace = 'default' AND name = ? AND {NO_PROMPT}
"""  # noqa: S608  our own names
VERSIONS = f"""
SELECT version, status, COALESCE(creation_time, 0) AS created_at, COALESCE(run_id, '') AS run_id,
    COALESCE(source, '') AS source, COALESCE(current_stage, '') AS stage, COALESCE(description, '') AS description,
    (SELECT json_group_object(key, COALESCE(value, '')) FROM model_version_tags AS t
     WHERE t.workspace = m.workspace AND t.name = m.name AND t.version = m.version) AS tags
FROM model_versions AS m
WHERE workspace = 'default' AND name = ? AND current_stage != 'Deleted_Internal' AND {NO_PROMPT}
    AND version = COALESCE(?, version)
ORDER BY version
"""  # noqa: S608  our own names
NOTED = "SELECT run_uuid, value FROM tags WHERE key = ? AND value IS NOT NULL"
RUN = """
SELECT artifact_uri, (SELECT json_group_object(key, COALESCE(value, '')) FROM tags AS t
    WHERE t.run_uuid = r.run_uuid) AS tags
FROM runs AS r WHERE run_uuid = ?
"""


class Tables(NamedTuple):
    """The tables of one database. Each question is one statement, and so sees one state of it."""

    path: Path

    def names(self) -> list[str]:
        """The names of all registered models, sorted."""
        return [row["name"] for row in self._rows(NAMES)]

    def model(self, name: str) -> dict[str, Any] | None:
        """The name, `created_at`, description, tags and aliases of a registered model."""
        return next(iter(self._rows(MODEL, name)), None)

    def versions(self, name: str, number: int | None = None) -> list[dict[str, Any]]:
        """The versions of a model, or the one of a number, as `registry.store.Version` names what they hold."""
        return self._rows(VERSIONS, name, number)

    def noted(self, tag: str) -> dict[str, str]:
        """The value of a tag in each run that has it, deleted ones too, by their ids."""
        return {row["run_uuid"]: row["value"] for row in self._rows(NOTED, tag)}

    def run(self, run_id: str) -> Mapping[str, Any] | None:
        """The `artifact_uri` and the tags of a run, be it deleted."""
        return next(iter(self._rows(RUN, run_id)), None)

    def _rows(self, question: str, *values: str | int | None) -> list[dict[str, Any]]:
        address = f"{self.path.as_uri()}?mode=rw"  # who may not write opens it to read; who may undoes what a kill left
        with translated(), closing(sqlite3.connect(address, uri=True, timeout=embedded.LOCK_SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute(question, values)]
        return [row | {name: json.loads(row[name]) for name in JSON if name in row} for row in found]


def of(uri: str) -> Tables | None:
    """The tables behind an address; None where MLflow's client must be asked."""
    path = prepared(uri)
    return Tables(path) if path and WORKSPACES not in os.environ and _revision(path) in KNOWN else None


@cache
def _revision(path: Path) -> str:
    return embedded.revision(path)
