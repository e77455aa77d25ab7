"""A fresh process loads the stored model and reproduces its predictions."""
