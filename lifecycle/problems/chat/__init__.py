"""Questions to a folder of documents: an answer with its sources, or that the documents do not tell."""
