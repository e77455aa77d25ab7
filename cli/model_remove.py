"""`mlops model delete|retire-missing|cleanup|rename|migrate-stages`: what takes away asks first, or is told `--yes`."""

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import IntegrityError
from lifecycle.core.names import Environment
from lifecycle.registry import missing, removal, stages, store

if TYPE_CHECKING:
    from lifecycle.registry.missing import Record
    from lifecycle.registry.removal import Removal
    from lifecycle.registry.stages import Migration
    from lifecycle.registry.store import Target

DEV, PROD = Environment.DEV, Environment.PROD


class DeletionRequest(Form):
    """What is deleted."""

    model_name: options.ModelToChange
    version: options.Version = None
    env: options.Env = PROD
    with_champion: bool = Field(False, description="Delete a model in use as well.")
    reason: options.Reason = ""
    dry_run: options.DryRun = False


@options.of_request
def delete(request: DeletionRequest, yes: options.Yes = False, as_json: options.Json = False) -> None:
    """Delete a version, or a whole model. Refused (exit code 5) while a champion, rollback, alias or copy needs it.

    Example: mlops model delete --model-name sentiment --env dev --version 3 --dry-run
    """
    target, version = runner.registered(request.env, request.model_name), request.version
    if version is None:
        deletion = partial(removal.delete_model, target, with_champion=request.with_champion)
    else:
        deletion = partial(removal.delete_version, target, version, reason=request.reason)
    planned = deletion(dry_run=True)
    if not request.dry_run:
        all_of_it = f" with its {len(planned.deleted)} versions and its history"
        runner.confirm(f"Delete {target.name}{all_of_it if version is None else f' v{version}'}?", yes)
        planned = deletion()
        if version is None:
            _forget(target.name, request.env, request.model_name)
    _removal(planned, as_json)


def _forget(name: str, env: Environment, model_name: str) -> None:
    """Take a model that is gone out of what `mlops status` tells."""
    from lifecycle.monitoring import subject

    subject.forget(settings.load(env, model_name=model_name).measurements, name)


def retire_missing(
    model_name: options.ModelToChange,
    reason: Annotated[str, typer.Option("--reason", help="Recorded in the promotion log.")],
    version: options.Version = None,
    env: options.Env = PROD,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Record that versions were deleted past this command; until then no champion is judged or moved (exit code 7).

    All that are missing, or one. If the champion is among them, the one before it is champion again.

    Example: mlops model retire-missing --model-name sentiment --env dev --reason "tidied up in MLflow" --dry-run
    """
    target = runner.registered(env, model_name)
    found = missing.retire(target, version, reason=reason, dry_run=True)
    if not dry_run:
        if found.stories:
            numbers = ", ".join(f"v{number}" for number in found.stories)
            runner.confirm(f"Record {numbers} of {target.name} as deleted? {_falls(found)}".strip(), yes)
        if found.vanished:
            runner.confirm(f"Record that {target.name} is gone with its champion {found.vanished}?", yes)
        found = missing.retire(target, version, reason=reason)
        _note(target, env, model_name)
    show.print_json(found) if as_json else _missing(found)


def _note(target: "Target", env: Environment, model_name: str) -> None:
    """Let `mlops status` tell who is champion now, if anybody is; what was measured is told as before."""
    from lifecycle.monitoring import shadow
    from lifecycle.monitoring.subject import Subject, unseat

    subject = Subject.of(settings.load(env, model_name=model_name), target)
    unseat(subject.root, subject.name)
    if store.model(target):
        with suppress(IntegrityError):  # others are missing still: nobody knows who is champion
            shadow.stands(subject)


def cleanup(
    model_name: options.ModelToChange,
    keep: Annotated[int, typer.Option("--keep", min=0, help="Champions before the present one that stay.")],
    env: options.Env = PROD,
    reason: options.Reason = "cleaned up",
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Delete old versions that nothing needs, then the files that no version of any model refers to.

    Example: mlops model cleanup --model-name sentiment --env dev --keep 3 --dry-run
    """
    target = runner.registered(env, model_name)
    planned = removal.plan_cleanup(target, keep)
    if not dry_run:
        if planned.deleted:
            runner.confirm(f"Delete {len(planned.deleted)} versions of {target.name}?", yes)
        planned = removal.cleanup(target, keep, reason=reason)
    _removal(planned, as_json)


def rename(
    model_name: options.ModelToChange,
    to: Annotated[str, typer.Option("--to", help="New name, without environment.")],
    env: options.Env = PROD,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Rename a model. Refused (exit code 5) while something reads it by its name: a champion, a copy.

    Example: mlops model rename --model-name sentiment --env dev --to tone
    """
    target, new = runner.registered(env, model_name), runner.registered(env, to)
    removal.rename(target, new.name, dry_run=True)
    if not dry_run:
        runner.confirm(f"Rename {target.name} to {new.name}?", yes)
        removal.rename(target, new.name)
        _forget(target.name, env, model_name)
    done = {"model": target.name, "to": new.name, "done": not dry_run}
    verb = "Would rename" if dry_run else "Renamed"
    show.print_json(done) if as_json else console.echo(f"{verb} {target.name} to {new.name}.")


def migrate_stages(
    source: Annotated[str, typer.Option("--source", help="Full name of the model that has stages.")],
    model_name: options.ModelToChange,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what a migration entered.")] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Enter the versions in stages Staging, Production and Archived in the models of their environments.

    Staging and Production become champions there, Archived a candidate of prod. Stages stay as they are, so old URIs go
    on loading. Two versions in one stage are reported, nothing is guessed (exit code 5).

    Example: mlops model migrate-stages --source sentiment_classifier --model-name sentiment --dry-run
    """
    targets = {env: runner.registered(env, model_name) for env in (Environment.STAGING, PROD)}
    origin = targets[PROD].named(source)
    if undo:
        runner.confirm(f"Remove what was migrated from {source}?", yes or dry_run)
        gone = stages.undo(origin, targets, dry_run=dry_run)
        names = ", ".join(gone) or "nothing"
        say = f"{'Would remove' if dry_run else 'Removed'}: {names}."
        show.print_json({"removed": gone, "done": not dry_run}) if as_json else console.echo(say)
        return
    migration = stages.plan(origin, targets)
    if not dry_run:
        runner.confirm(f"Enter {len(migration.moves)} versions of {source}?", yes)
        migration = stages.migrate(origin, targets)
    show.print_json(migration) if as_json else _migration(migration)


def _removal(done: "Removal", as_json: bool) -> None:
    if as_json:
        show.print_json(done)
        return
    numbers = ", ".join(f"v{number}" for number in done.deleted) or "nothing"
    console.echo(f"{done.name}: {'deleted' if done.done else 'would delete'} {numbers}.")
    if done.kept:
        show.table(("stays", "because"), [(f"v{number}", why) for number, why in done.kept.items()])
    for uri in done.collected:
        console.echo(f"Removed the files of {uri}.")


def _missing(found: "Record") -> None:
    if found.vanished:
        verb = "recorded" if found.done else "would record"
        console.echo(f"{found.name}: {verb} as gone; {found.vanished} was its champion. The next one is the first.")
        return
    if not found.stories:
        console.echo(f"{found.name}: nothing is missing that is not recorded.")
    for number, what in found.stories.items():
        verb = "recorded" if found.done else "would record"
        console.echo(f"{found.name} v{number}: {verb} as deleted; {what}.")
    if found.stories:
        console.echo(f"{_falls(found)} {_still(found)}".strip())


def _falls(found: "Record") -> str:
    now = f"v{found.champion}" if found.champion else "none"
    if not found.fell_back:
        return f"The champion stays {now}."
    again = "is champion again" if found.done else "would be champion again"
    return (
        f"The champion was among them: {now} {again}, as after a rollback."
        if found.champion
        else ("The champion was among them, and nobody is left before it: no champion.")
    )


def _still(found: "Record") -> str:
    if not found.left:
        return ""
    return f"Still missing: {', '.join(f'v{number}' for number in found.left)}."


def _migration(done: "Migration") -> None:
    rows = [
        (
            f"{m.source} v{m.version}",
            m.stage,
            f"{m.to} v{m.entered}" if m.entered else m.to,
            "yes" if m.champion else "",
        )
        for m in done.moves
    ]
    show.table(("from", "stage", "entered as" if done.done else "would be entered in", "champion"), rows)
    for text in done.ambiguous:
        console.echo(f"Ambiguous: {text}.")
    for text in done.foreign:
        console.echo(f"MLflow goes on loading it, mlops does not: {text} To convert it: mlops model register-external")
    if done.without_stage:
        console.echo(f"Without a stage, left alone: {', '.join(f'v{number}' for number in done.without_stage)}.")
