"""Prefect's own command in a process of its own, run as a module; what it takes is what follows on the command line.

It makes a client for each of hundreds of calls, and each reads all certificates that the machine trusts, most of the
time that `prefect deploy` takes. Here they share one reading.
"""

import runpy
import ssl
from functools import cache


def main() -> None:
    """Run the command."""
    ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
