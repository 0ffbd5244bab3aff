"""Codes and images: drawing, walking, calculating, and looking at a latent space in two dimensions."""
