"""Champion → the champion before it."""

from prefect import flow

from flows.promote import registered
from lifecycle import settings
from lifecycle.names import Environment
from lifecycle.parameters import Name
from lifecycle.registry.promotion import Promotion
from tasks import registry, reports


@flow(name="rollback", flow_run_name="roll back {model_name} in {env}", persist_result=True, result_serializer="json")
def rollback(
    model_name: Name, env: Environment = Environment.PROD, to_version: int | None = None, reason: str = ""
) -> Promotion:
    """Give the champion alias back to an earlier champion, after verifying that its files are what was registered.

    Args:
        model_name: Name of the model, without environment.
        env: Environment to roll back in.
        to_version: Version that was champion; default the one before the present one.
        reason: Recorded in the log.
    """
    target = registered(settings.load(env), model_name)
    intent = registry.intend_rollback(target, to_version, reason or "rolled back by hand")
    if isinstance(intent, Promotion):
        return intent
    registry.verify(intent.model)
    registry.register(intent)
    promotion = registry.promote(intent)
    reports.show_promotion(promotion)
    return promotion
