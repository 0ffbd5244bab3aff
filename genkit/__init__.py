"""genkit: learn, see and measure a latent space from a folder of images.

The package imports one way, from `cli` at the top to `model` at the bottom; docs/design.md draws the map.
"""

__version__ = "0.1.0"
