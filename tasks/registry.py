"""`lifecycle.registry` under orchestration."""

from lifecycle.gate.proof import replay
from lifecycle.models import loading
from lifecycle.registry import card, catalog, promotion, rollback, transfer
from tasks.policies import on_registry

bring = on_registry(transfer.bring).with_options(name="bring the model over")
champion = on_registry(promotion.champion).with_options(name="read the champion")
enter_challenger = on_registry(promotion.enter_challenger).with_options(name="enter as candidate")
intend = on_registry(promotion.intend).with_options(name="plan the promotion")
register = on_registry(promotion.register)
promote = on_registry(promotion.promote)
prove = on_registry(replay.check).with_options(name="replay in a fresh process")
reproduces = on_registry(replay.reproduces).with_options(name="replay the target")
verify = on_registry(loading.verify).with_options(name="verify its files")
resolve = on_registry(catalog.resolve).with_options(name="find the model")
write_card = on_registry(card.write).with_options(name="write the model card")
rollback_steps = rollback.Steps(
    intend=on_registry(promotion.intend_rollback).with_options(name="plan the rollback"),
    reproduces=reproduces,
    mark_ready=on_registry(promotion.mark_ready).with_options(name="mark as ready"),
    register=register,
    promote=promote,
)
