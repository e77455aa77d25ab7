"""The part of a Databricks workspace that MLflow's Unity Catalog client talks to, on a real socket on loopback."""

from tests.databricks_emulator.running import Emulator, running

__all__ = ["Emulator", "running"]
