"""`lifecycle.registry` under orchestration."""

from lifecycle.models import loading
from lifecycle.registry import catalog, promotion
from tasks.policies import on_registry

champion = on_registry(promotion.champion)
intend = on_registry(promotion.intend)
register = on_registry(promotion.register)
promote = on_registry(promotion.promote)
intend_rollback = on_registry(promotion.intend_rollback)
resolve = on_registry(catalog.resolve)
verify = on_registry(loading.verify)
