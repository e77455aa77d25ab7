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


def __getattr__(name: str) -> "Any":
    """One of the functions of the library, imported when it is asked for: commands that need none start without."""
    from importlib import import_module

    library = None if name.startswith("_") else import_module("lifecycle.library")
    if library is None or name not in library.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(library, name)
