"""Which version of genkit this is."""

__version__ = "0.1.0"
