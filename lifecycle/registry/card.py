"""The model card of a version: what it is for, what it was made of, how well it does, all from recorded facts.

The same version always gets the same card. It is an artifact of the version's run, and stands in the description of the
version beneath what people wrote there.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lifecycle.core.class_names import as_markdown
from lifecycle.core.errors import ConfigError, IntegrityError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.gate import records
from lifecycle.gate.present import rows
from lifecycle.gate.verdict import Verdict
from lifecycle.problems.contract import plain
from lifecycle.registry import binding, catalog, labels, log, store, story
from lifecycle.registry.catalog import VersionFacts
from lifecycle.registry.store import Target, Version
from lifecycle.settings import Settings
from lifecycle.settings.rules import CardRules, CardWords

if TYPE_CHECKING:
    from jinja2 import Template
    from mlflow.entities import Run

FOLDER = "model_card"


class Facts(NamedTuple):
    """What is recorded of a version: how it became champion, its run, and the data that it was trained on."""

    version: VersionFacts
    entry: Version | None
    link: str
    trained_at: str
    params: dict[str, str]
    tags: dict[str, str]
    data: Manifest | None
    last_verdict: str

    @property
    def said(self) -> dict[str, str]:
        """What the log says of the version."""
        return self.entry.tags if self.entry else {}


def write(config: Settings, model_name: str, number: int, verdict: Verdict | None = None) -> str:
    """Keep the card of a version in its run and in its description, and return it.

    The description comes last, so what a kill left undone is done the next time. A card that is in place stays.
    """
    target = store.target_of(config, model_name)
    written = read(config, model_name, number, verdict)
    version = binding.version(target, number)
    described = labels.with_card(labels.words(version.description), written)
    if described != version.description:
        if _run(target, version.run_id):
            path = f"{FOLDER}/{target.name}-v{number}.md"
            store.mlflow_of(target).log_text(version.run_id, written, path)
        store.describe(target, number, described)
    return written


def read(config: Settings, model_name: str, number: int, verdict: Verdict | None = None) -> str:
    """The card of a version; nothing is written. A verdict that is at hand saves reading the recorded one.

    Raises:
        NotFoundError: There is no such version.
    """
    facts = _facts(config, store.target_of(config, model_name), number)
    recorded = facts.said.get(log.VERDICT)
    if verdict is None or verdict.digest != recorded:
        verdict = _recorded_verdict(config, facts.version.run_id, recorded) if recorded else None
    return text(facts, verdict, config.card, model_name)


def text(facts: Facts, verdict: Verdict | None, rules: CardRules, model_name: str) -> str:
    """A card as markdown; without a verdict it says that nobody measured the version, or that it cannot be read."""
    card = _template().render(
        facts=facts,
        version=facts.version,
        verdict=verdict,
        recorded=facts.said.get(log.VERDICT, ""),
        skipped=facts.said.get(log.GATE) == "skipped",
        use=list(_use(rules.of(model_name))),
        data_licence=rules.data_licences.get(facts.tags.get("mlops.data_name", "")) or _unsaid("data_licences"),
        tables=_tables(verdict) if verdict else [],
        training=_training(facts),
        lineage=_lineage(facts),
        number=rows.number,
        plain=plain,
    )
    return re.sub(r"\n{3,}", "\n\n", card).strip() + "\n"


@cache
def _template() -> "Template":
    """The card's template, compiled once for all cards of a process."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701  what is printed is made harmless for markdown by `_inline`
        loader=PackageLoader("lifecycle"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_inline,
    )
    return environment.get_template("model_card.md.j2")


def _facts(config: Settings, target: Target, number: int) -> Facts:
    version = catalog.show_version(target, number)
    run = _run(target, version.run_id)
    tags = dict(run.data.tags) if run else {}
    return Facts(
        version=version,
        entry=_entry(target, number),
        link=catalog.run_link(target.tracking_uri, version.run_id, config.mlflow_ui),
        trained_at=f"{datetime.fromtimestamp(run.info.start_time / 1000, UTC):%Y-%m-%d}" if run else "",
        params=dict(sorted(run.data.params.items())) if run else {},
        tags=tags,
        data=_trained_on(config, tags),
        last_verdict=tags.get(f"gate.{config.env}", ""),
    )


def _run(target: Target, run_id: str) -> "Run | None":
    """The run of a version, unless it lies on another server."""
    if run_id:
        with store.missing_is_none():
            return store.mlflow_of(target).get_run(run_id)
    return None


def _trained_on(config: Settings, tags: dict[str, str]) -> Manifest | None:
    """The dataset version that a run was trained on, if it can be reached and is still the same."""
    name, version = tags.get("mlops.data_name", ""), tags.get("mlops.data_version", "")
    try:
        found = dataset.load(config.datasets, name, version)
    except (NotFoundError, IntegrityError):
        return None
    return found if found.digest == tags.get("mlops.dataset_digest", found.digest) else None


def _entry(target: Target, number: int) -> Version | None:
    """The entry of the log that last made a version champion, other than by going back to it."""
    found = story.read(target)
    back = {"rollback", "retire"}
    made = [e.number for e in found.log.changes if e.kind not in back and e.makes_champion == number]
    return next((each for each in found.versions if made and each.version == made[-1]), None)


def _recorded_verdict(config: Settings, run_id: str, digest: str) -> Verdict | None:
    """The verdict of a digest; None if it cannot be read or is another one."""
    model = ModelRef(tracking_uri=config.mlflow_uri, uri="", run_id=run_id, artifact_sha256="")
    try:
        return records.read(records.Record(model, config.env, digest[: records.DIGITS]))
    except (IntegrityError, ConfigError, NotFoundError):
        return None


def _use(words: CardWords) -> Iterator[tuple[str, str]]:
    """What only people can say; a card shows what nobody has said."""
    said = {
        "intended_use": words.intended_use,
        "out_of_scope": "; ".join(words.out_of_scope),
        "limits": "; ".join(words.limits),
        "licence": words.licence,
        "owners": ", ".join(words.owners),
    }
    for setting, value in said.items():
        yield setting.replace("_", " ").capitalize(), value or _unsaid(setting)


def _unsaid(setting: str) -> str:
    return f"not stated (setting card.{setting})"


def _training(facts: Facts) -> list[tuple[str, str]]:
    own = {name.removeprefix("model."): value for name, value in facts.params.items() if name.startswith("model.")}
    return [
        ("Algorithm", facts.params.get("model_type", "")),
        ("Parameters", ", ".join(f"{name} {value}" for name, value in own.items())),
        ("Seed", facts.params.get("seed", "")),
        ("Day", facts.trained_at),
        ("Code", facts.tags.get("mlops.code_version", "") or facts.version.git_commit[:12]),
    ]


def _lineage(facts: Facts) -> list[tuple[str, str]]:
    """How a version became champion, according to the promotion log, and which files it is."""
    version, entry, said = facts.version, facts.entry, facts.said
    expected = said.get(log.EXPECTED)
    return [
        ("Registered", f"{version.created_at:%Y-%m-%d %H:%M} UTC"),
        ("Champion by", f"{said.get(log.KIND, 'promotion')}, entry v{entry.version}" if entry else "nothing yet"),
        ("Who", said.get(log.BY, "")),
        ("Reason", said.get(log.REASON, "")),
        ("Approved by", ": ".join(each for each in (said.get(log.APPROVED_BY), said.get(log.APPROVAL)) if each)),
        ("Champion it replaced", "none" if expected == log.NONE else f"v{expected}" if expected else ""),
        ("Made from", version.source),
        ("Files", version.artifact_sha256[:12]),
        ("Verdict", said.get(log.VERDICT, "")[:12]),
    ]


def _tables(verdict: Verdict) -> list[rows.Table]:
    """What was measured; the rows of the data stand in the verdict alone, which goes with them if they are erased."""
    return [
        rows.metrics(verdict),
        rows.classes(verdict),
        rows.slices(verdict, len(verdict.slices)),
        rows.behaviour(verdict),
    ]


def _inline(value: Any) -> str:
    """A value on one line of markdown, whatever a label or a reason holds: no table, tag or code of its own."""
    return as_markdown("" if value is None else str(value))
