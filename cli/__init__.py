"""How a person or CI starts it: the `mlops` command."""

import os
import signal
import sys
from pathlib import PurePath

IS_COMMAND = PurePath(sys.argv[0]).name in {"mlops", "-m"}
"""Whether this process is the command, and not something else that imports it."""

if IS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # nothing has begun that would have to end in order, so Ctrl-C shows no traceback of the imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

os.environ.setdefault(
    "MLFLOW_LOGGING_LEVEL", "ERROR"
)  # MLflow looks when it is imported, and tells on stderr what it does
