"""Numbers for a trained model, and what each of them depends on. One file a question."""
