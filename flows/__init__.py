"""ORDER: what runs after what. Prefect flows, nothing but order and decisions on small values."""
