"""One training step: the loop, the optimisers, and what makes a step fast or shares it among processes."""
