"""Running the product as a service: Prefect's server, MLflow's UI and a worker on one machine."""
