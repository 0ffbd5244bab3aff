"""Published results, as recipes that anybody can run: what to train, what to measure, what must come out."""
