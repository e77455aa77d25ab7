"""What deployments need on a Prefect server: work pools, concurrency limits, a notification block, automations.

Everything is found by its name and made, corrected or left, so that it can be applied again and again.
"""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

from cli.operations import connection, project
from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from tasks.limits import limit_name

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation, AutomationCore

ALERTS_URL = "MLOPS_ALERTS_URL"
"""The secret address of a webhook, from which the notification block is made if it is not there."""

Outcome = Literal["created", "corrected", "in place", "left out"]


class Item(Frozen):
    """One thing on the server, and what was done about it."""

    kind: str
    name: str
    outcome: Outcome
    detail: str = ""


def apply(environments: Iterable[Settings]) -> list[Item]:
    """Make what is missing and correct what differs; what is not named in the project's files is left alone.

    Raises:
        ConfigError: A file is not valid, or a notification block is neither there nor can be made.
    """
    chosen = tuple(environments)
    with connection.client() as client:
        items = [*_work_pools(client), *_limits(client, chosen)]
        blocks = {config.env: _notification_block(config.alerts) for config in chosen if config.alerts}
        items += [item for item, _ in blocks.values()]
        wanted = list(_automations({env: str(block._block_document_id) for env, (_, block) in blocks.items()}, chosen))
        items += [_automation(client, automation) for automation in wanted]
    silent = [config.env for config in chosen if not config.alerts]
    detail = "no `alerts` in its settings"
    return items + [Item(kind="notifications", name=env, outcome="left out", detail=detail) for env in silent]


def _work_pools(client: "SyncPrefectClient") -> Iterator[Item]:
    """Each pool that a deployment names, as a process pool; one that is there keeps its type and template."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    for name in sorted({entry["work_pool"]["name"] for entry in project.deployments()}):
        try:
            pool = client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            yield Item(kind="work pool", name=pool.name, outcome="created", detail=pool.type)
        except ObjectAlreadyExists:
            pool = client.read_work_pool(name)
            yield Item(kind="work pool", name=pool.name, outcome="in place", detail=pool.type)


def _limits(client: "SyncPrefectClient", environments: Iterable[Settings]) -> Iterator[Item]:
    """One promotion at a time for each model that a deployment names; flows make the limit of any other model."""
    from prefect.exceptions import ObjectNotFound

    models = sorted({entry.get("parameters", {}).get("model_name") for entry in project.deployments()} - {None})
    for name in [limit_name(target_of(config, model)) for config in environments for model in models]:
        try:
            outcome: Outcome = (
                "in place" if client.read_global_concurrency_limit_by_name(name).limit == 1 else "corrected"
            )
        except ObjectNotFound:
            outcome = "created"
        client.upsert_global_concurrency_limit_by_name(name, 1)
        yield Item(kind="concurrency limit", name=name, outcome=outcome, detail="1")


def _notification_block(slug: str) -> "tuple[Item, Block]":
    """The block of this type and name; a webhook that is not there is made from `MLOPS_ALERTS_URL`."""
    from prefect.blocks.core import Block
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    try:
        return Item(kind="notification block", name=slug, outcome="in place"), cast(Block, Block.load(slug))
    except ValueError:
        pass
    kind, _, name = slug.partition("/")
    url = os.environ.get(ALERTS_URL)
    if not url:
        what = f"There is no notification block {slug}."
        raise ConfigError(what, f"Make it in Prefect's UI (Blocks), or give its address: export {ALERTS_URL}=…")
    try:
        block_type = Block.get_block_class_from_key(kind)
        if block_type is CustomWebhookNotificationBlock:
            body = {"subject": "{{subject}}", "body": "{{body}}"}
            block: Block = CustomWebhookNotificationBlock(name=name, url=url, json_data=body)
        else:
            block = block_type(url=url)
    except (KeyError, ValueError, TypeError):
        what = f"A block of type {kind} cannot be made from this address alone."
        raise ConfigError(what, "Make it in Prefect's UI (Blocks).") from None
    block.save(name)
    return Item(kind="notification block", name=slug, outcome="created"), block


def _automations(blocks: dict[str, str], environments: Iterable[Settings]) -> "Iterator[AutomationCore]":
    """The automations of the file; what is per environment, once for each that asks for it by its settings."""
    from prefect.events.schemas.automations import AutomationCore
    from pydantic import ValidationError

    content = project.read(project.AUTOMATIONS)
    try:
        for entry in content.get("automations") or []:
            yield AutomationCore.model_validate(entry)
        for config in environments:
            for entry in (content.get("approvals") or []) if config.approval.required else []:
                yield AutomationCore.model_validate(_within_the_time(_filled(entry, config.env), config))
        for env, block in blocks.items():
            for entry in content.get("notifications") or []:
                yield AutomationCore.model_validate(_notification(_filled(entry, env), block))
    except (ValidationError, KeyError, TypeError) as error:
        what = f"{project.AUTOMATIONS} is not valid: {' '.join(str(error).split())[:300]}."
        raise ConfigError(what, "Correct the file.") from None


def _within_the_time(entry: dict[str, Any], config: Settings) -> dict[str, Any]:
    """An automation that acts when nobody has answered in the time that the settings allow."""
    return {**entry, "trigger": {**entry["trigger"], "within": config.approval.timeout_hours * 3600}}


def _notification(entry: dict[str, Any], block: str) -> dict[str, Any]:
    trigger = {"type": "event", "posture": "Reactive", "threshold": 1, **entry["trigger"]}
    send = {"type": "send-notification", "block_document_id": block}
    action = send | {"subject": entry["subject"], "body": entry["body"]}
    return {"name": entry["name"], "description": entry["description"], "trigger": trigger, "actions": [action]}


def _filled(value: Any, env: str) -> Any:
    """The same value with the environment in place of `{env}`, wherever it stands."""
    if isinstance(value, dict):
        return {key: _filled(each, env) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, env) for each in value]
    return value.replace("{env}", env) if isinstance(value, str) else value


def _automation(client: "SyncPrefectClient", wanted: "AutomationCore") -> Item:
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return Item(kind="automation", name=wanted.name, outcome="created")
    kept, *twins = found
    enabled = all(each.enabled for each in found)  # what a person switched off stays off
    if _content(kept) == _content(wanted) and not twins:
        return Item(kind="automation", name=wanted.name, outcome="in place")
    client.update_automation(kept.id, wanted.model_copy(update={"enabled": enabled}))
    for twin in twins:
        client.delete_automation(twin.id)
    return Item(kind="automation", name=wanted.name, outcome="corrected")


def _content(automation: "Automation | AutomationCore") -> dict[str, Any]:
    """What the file decides; whether it is switched on is decided in the UI."""
    from prefect.events.schemas.automations import AutomationCore

    content = automation.model_dump(include=set(AutomationCore.model_fields) - {"enabled"})
    for action in content["actions"]:
        action.pop("id", None)
    content["trigger"].pop("id", None)
    return content
