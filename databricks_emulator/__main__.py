"""`python -m databricks_emulator --root DIR [--port N] [--mode fast|wheel] [--with-parent]`.

The first two lines it prints are its URL and the one over TLS; `DIR/environment` holds the variables with which a shell
(`set -a; . DIR/environment`) reaches it.
"""

import argparse
from pathlib import Path

from databricks_emulator.server import serve


def main() -> None:
    """Read the command line and serve until SIGTERM or, with a parent, until it closes our standard input."""
    parser = argparse.ArgumentParser(prog="python -m databricks_emulator")
    parser.add_argument("--root", type=Path, required=True, help="directory of everything the emulator keeps")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; TLS takes another")
    parser.add_argument(
        "--mode", choices=["fast", "wheel"], default="fast", help="run tasks here, or in environments of their own"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    serve(options.root, options.port, with_parent=options.with_parent, mode=options.mode)


if __name__ == "__main__":
    main()
