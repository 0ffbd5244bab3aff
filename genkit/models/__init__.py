"""The models that come with genkit, one file each; `registry.py` finds them by file name."""
