"""Score a table with one pinned model and publish the predictions, whole or not at all."""
