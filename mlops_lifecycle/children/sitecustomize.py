"""Loaded by every Python below a command of ours: makes our packages findable, then gives way to the machine's own."""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

_here = os.path.dirname(os.path.abspath(__file__))
_found = spec_from_file_location("mlops_lifecycle.start", os.path.join(os.path.dirname(_here), "start.py"))
if _found and _found.loader:
    _start = module_from_spec(_found)
    _found.loader.exec_module(_start)
    _start.find()
_this = sys.modules.pop("sitecustomize")
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401  the next one on the path, which no longer holds this folder
except ImportError:
    sys.modules["sitecustomize"] = _this
