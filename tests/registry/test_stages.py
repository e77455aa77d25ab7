"""Stages of former times, which Unity Catalog has not: a migration enters each staged version in its environment."""

import pytest

from lifecycle.core.errors import ConfigError, ConflictError, NotFoundError
from lifecycle.core.names import Environment
from lifecycle.registry import (
    catalog,
    stages,
    store,
)
from tests.registry.conftest import State, environments, move, promote


def test_a_migration_is_undone_until_something_else_is_entered(staged: State) -> None:
    source = staged.target.named("sentiment")
    targets = environments(source)
    both = ("staging.ml.sentiment", "prod.ml.sentiment")
    stages.migrate(source, targets)
    assert stages.undo(source, targets, dry_run=True) == both
    assert len(store.names(source.tracking_uri)) == 3
    assert stages.undo(source, targets) == both
    assert store.names(source.tracking_uri) == ["sentiment"]
    assert stages.undo(source, targets) == ()
    stages.migrate(source, targets)
    promote(targets[Environment.PROD], staged.regression)
    with pytest.raises(ConflictError, match=r"prod\.ml\.sentiment has changed since the migration: v3"):
        stages.undo(source, targets)
    assert len(store.names(source.tracking_uri)) == 3


def test_what_is_ambiguous_is_not_migrated_at_all(staged: State) -> None:
    source = staged.target.named("sentiment")
    targets = environments(source)
    move(source, 4, "Production")
    with pytest.raises(ConflictError, match="v2, v4 are all in stage Production"):
        stages.migrate(source, targets)
    move(source, 4, "Archived")
    promote(targets[Environment.STAGING], staged.weak)
    with pytest.raises(ConflictError, match=r"staging\.ml\.sentiment has versions of its own"):
        stages.migrate(source, targets)
    assert store.names(source.tracking_uri) == ["sentiment", "staging.ml.sentiment"]
    with pytest.raises(NotFoundError, match="no model nobody"):
        stages.plan(source.named("nobody"), targets)


def test_a_stage_resolves_to_its_latest_version(staged: State) -> None:
    source = staged.target.named("sentiment")
    assert catalog.resolve(source, stage="production").version == 2
    assert catalog.show_version(source, 2).stage == "Production"
    assert catalog.show_version(source, 4).stage == ""
    move(source, 4, "Production")
    assert catalog.resolve(source, stage="Production").version == 4
    with pytest.raises(ConfigError, match="is not a stage"):
        catalog.resolve(source, stage="prod")
    with pytest.raises(ConfigError, match="exclude each other"):
        catalog.resolve(source, stage="Production", version=1)
    move(source, 3, "None")
    with pytest.raises(NotFoundError, match="no version in stage Staging"):
        catalog.resolve(source, stage="staging")
