"""What all problems have in common whose answer is a number: errors, metrics, the largest of them."""
