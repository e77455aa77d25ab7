"""What all problems have in common whose answer is a class: labels, scores, metrics, mistakes."""
