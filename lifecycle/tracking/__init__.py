"""MLflow: its client, the runs of trainings, and what they claim."""
