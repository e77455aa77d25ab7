"""Whether a challenger is the champion's own definition, trained again on a newer version of its dataset.

Or on the same version, where the champion's files are gone and nobody can use it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lifecycle.core.errors import MlopsError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.gate.verdict import Rule
from lifecycle.settings.gate_rules import GateRules
from lifecycle.tracking import runs
from lifecycle.tracking.runs import DEFINITION


class Choice(NamedTuple):
    """The rule that compares two models, and why it is this one."""

    rule: Rule
    why: str


class _Origin(NamedTuple):
    """What a run says of how its model came about; empty where it does not say."""

    definition: str
    data_name: str
    data_version: str
    digest: str


def rule_for(challenger: ModelRef, champion: ModelRef | None, data_root: Path, rules: GateRules) -> Choice:
    """Choose between the rules; what cannot be established is compared by its gain, the stricter one."""
    if champion is None:
        return Choice("first", "there is no champion yet")
    if rules.retraining.rule == "gain":
        return Choice("gain", "gate.retraining.rule is gain")
    new, old = _origin(challenger), _origin(champion)
    if against := next(_differences(new, old), ""):
        return Choice("gain", against)
    return _by_data(new, old, champion, data_root)


def _by_data(new: _Origin, old: _Origin, champion: ModelRef, data_root: Path) -> Choice:
    """The rule for the champion's own definition, by what it was trained on."""
    where = f"{new.data_name} {new.data_version}"
    if new.digest == old.digest:
        if runs.has_files(champion):
            return Choice("gain", "trained on the same dataset version as the champion")
        return Choice("retraining", f"the champion's definition, trained again on {where}, since its files are gone")
    if old.digest not in _ancestors(data_root, new):
        return Choice("gain", f"{where} does not descend from {old.data_name} {old.data_version}")
    return Choice(
        "retraining", f"the champion's definition, trained on {where}, a later version of its {old.data_version}"
    )


def _differences(new: _Origin, old: _Origin) -> Iterator[str]:
    for role, origin in (("challenger", new), ("champion", old)):
        if not (origin.definition and origin.digest):
            yield f"nobody recorded how the {role} was defined and on what it was trained"
    if new.definition != old.definition:
        yield "another definition than the champion's"


def _origin(model: ModelRef) -> _Origin:
    tags = runs.tags(model.tracking_uri, model.run_id)
    facts = ("mlops.data_name", "mlops.data_version", "mlops.dataset_digest")
    return _Origin(tags.get(DEFINITION, ""), *(tags.get(name, "") for name in facts))


def _ancestors(data_root: Path, origin: _Origin) -> Iterator[str]:
    """The digests of the versions that a dataset version was made from, as far back as they are there."""
    version: str | None = origin.data_version
    digest: str | None = origin.digest
    while version:
        try:
            manifest = dataset.load(data_root, origin.data_name, version)
        except MlopsError:
            return
        if manifest.digest != digest:
            return
        version, digest = manifest.parent, manifest.parent_digest
        if digest:
            yield digest
