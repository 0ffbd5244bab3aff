"""One training run, from its configuration to a model on disk, and what it logs, keeps and draws meanwhile."""
