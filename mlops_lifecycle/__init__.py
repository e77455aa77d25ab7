"""The name under which the wheel installs this project; importing it makes our packages findable.

`cli`, `flows`, `tasks` and `lifecycle` are names that anybody may use. In the wheel they lie in this folder, in a
checkout beside it, and after `import mlops_lifecycle` those names mean ours, whatever else is called so. What programs
may import stands in `lifecycle.library`, and can be had from here: `from mlops_lifecycle import load_model`.
"""

from mlops_lifecycle import start

TYPE_CHECKING = False  # until the start has protected a command, `typing` and `importlib` may be anybody's files
if TYPE_CHECKING:
    from typing import Any

start.find()

__all__ = ["LoadedModel", "champion", "history", "load_model", "predictions", "rows"]


def __getattr__(name: str) -> "Any":
    """One of the functions of the library, imported when it is asked for: commands that need none start without.

    For any other name nothing is imported: libraries ask every module for names, skops for those of all of SciPy.
    """
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lifecycle.library"), name)
