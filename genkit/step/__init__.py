"""One training step: the loop, the optimisers, and what makes a step fast or shares it among processes.

`passes.py` is the other way through images: a model over a whole split, without a step.
"""
