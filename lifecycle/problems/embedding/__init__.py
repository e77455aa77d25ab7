"""One algorithm for texts and pairs: a linear model of the vectors that a frozen encoder makes of them."""
