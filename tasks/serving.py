"""`lifecycle.serving` under orchestration: wherever a champion is made, its endpoint follows."""

from lifecycle.serving import endpoint
from lifecycle.serving.served import ALL, Served
from lifecycle.settings import Settings
from tasks import reports
from tasks.policies import on_registry

# It waits and tries again by itself, within one deadline.
_follow = on_registry(endpoint.follow).with_options(name="serve the champion", retries=0)

_advance = on_registry(endpoint.advance).with_options(name="advance the canary", retries=0)


def champion(config: Settings, model_name: str) -> None:
    """Let the endpoint of a model serve its champion, if the settings name one."""
    if model_name in config.serving.endpoints:
        reports.show_endpoint(_follow(config, model_name))


def advance(config: Settings, model_name: str, *, complete: bool = False) -> Served | None:
    """Give a new champion all requests once it was tried out on some, if the settings ask for that, or a person."""
    if not complete and (model_name not in config.serving.endpoints or config.serving.canary_traffic == ALL):
        return None
    served: Served | None = _advance(config, model_name, complete=complete)
    if served:
        reports.show_endpoint(served)
    return served
