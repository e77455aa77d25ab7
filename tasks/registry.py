"""`lifecycle.registry` under orchestration."""

from lifecycle.gate import replay
from lifecycle.registry import catalog, promotion, transfer
from tasks.policies import on_registry

bring = on_registry(transfer.bring)
champion = on_registry(promotion.champion)
enter_challenger = on_registry(promotion.enter_challenger)
intend = on_registry(promotion.intend)
register = on_registry(promotion.register)
promote = on_registry(promotion.promote)
intend_rollback = on_registry(promotion.intend_rollback)
mark_ready = on_registry(promotion.mark_ready)
prove = on_registry(replay.check)
reproduces = on_registry(replay.reproduces)
resolve = on_registry(catalog.resolve)
