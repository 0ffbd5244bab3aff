"""Models that no one at genkit has thought of. Nothing imports this to list them."""
