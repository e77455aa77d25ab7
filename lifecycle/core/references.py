"""Which thing exactly: small values that name one and travel in requests."""

from lifecycle.core.frozen import Frozen


def options_of(name: str) -> str:
    """The options by which a command names a registered model."""
    env, _, model = name.split(".", 2) if name.count(".") >= 2 else ("", "", name)
    return f"--model-name {model} --env {env}"


class ModelRef(Frozen):
    """One exact model: where it lies, what it must digest to, and the run that made it."""

    tracking_uri: str
    registry_uri: str = ""
    """Where it is registered, if not at the tracking server."""
    uri: str
    run_id: str
    artifact_sha256: str
    name: str | None = None
    version: int | None = None
    allow_pickle: bool = False
    """Whether the settings of the environment allow to read it if it is a pickle."""
    trusted_modules: tuple[str, ...] = ()
    """Of the code that it brings with it, what the settings of the environment allow to run."""
    trusted_models: tuple[str, ...] = ()
    """Digests of models from elsewhere whose code the settings of the environment allow to run."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.name} v{self.version}" if self.version else f"run {self.run_id}"
