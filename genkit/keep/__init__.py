"""What is kept on disk of a run: its folder, its configuration, its checkpoints."""
