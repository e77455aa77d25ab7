"""Answer single requests with a registered model, by a Databricks endpoint; `models.scoring_server` does so here."""
