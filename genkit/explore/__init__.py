"""The latent explorer: what a page can ask of a model and its images, and the server that answers it."""
