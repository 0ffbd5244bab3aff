"""The sets that genkit knows by name: one file for those that were published in one way."""
