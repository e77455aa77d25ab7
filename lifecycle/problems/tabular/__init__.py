"""What all problems share whose inputs are the columns of a table: kinds, cells, algorithms, the stored model."""
