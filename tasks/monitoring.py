"""`lifecycle.monitoring` under orchestration: the batch is published by then, and nothing here unmakes it."""

import logging

from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import store, watch
from lifecycle.monitoring.findings import Alert, Standing
from lifecycle.settings import Settings
from tasks import events, reports
from tasks.policies import on_registry

logger = logging.getLogger("lifecycle.monitoring")

measure = on_registry(watch.watch).with_options(name="measure the batch")


def with_sample(batch: BatchRequest, config: Settings) -> BatchRequest:
    """The same batch, of which some inputs are kept until it is measured; not if it is not to be."""
    return (
        batch.model_copy(update={"sample": watch.sample_of(batch, config.measurements)})
        if is_watched(batch, config)
        else batch
    )


def after(batch: BatchRequest, config: Settings) -> None:
    """Measure a published batch and tell of alerts."""
    request = watch.Watch(
        batch=batch,
        rules=config.monitoring,
        root=config.measurements,
        data_root=config.datasets,
        gate=config.gate,
    )
    tell(measure(request), config)


def refresh(config: Settings, model_name: str) -> Standing | None:
    """Where a model stands by all that was measured, and what nobody was told of is told; None before the first."""
    name = config.registered_name(model_name)
    alerts = store.untold(config.measurements, name, config.monitoring)
    for alert in alerts:
        logger.warning("ALERT %s. See: %s", alert.told, watch.next_command(alert))
    tell(tuple(alerts), config)
    return store.refresh(config.measurements, name, config.monitoring)


def tell(alerts: tuple[Alert, ...], config: Settings) -> None:
    """Send the event of each new alert, show it, and record that it was told: at least once, whatever is killed."""
    for alert in alerts:
        events.emit_alert(alert, config.env, watch.next_command(alert))
        reports.show_alert(alert, watch.next_command(alert))
        store.mark_told(config.measurements, alert)


def is_watched(batch: BatchRequest, config: Settings) -> bool:
    """Whether it is to be measured: what was scored by a run alone is nobody's production."""
    return config.monitoring.enabled and batch.model.version is not None
