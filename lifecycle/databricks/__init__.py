"""Databricks as a service: who we are there, its client, how its runs end."""
