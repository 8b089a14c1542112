"""Data sets and text: latents with captions, and what turns captions into embeddings."""
