"""A Databricks workspace on real sockets on loopback: what its official clients need, with tasks that are executed."""

from databricks_emulator.running import Emulator, running

__all__ = ["Emulator", "running"]
