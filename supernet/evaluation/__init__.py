"""Evaluation: metrics, feature spaces, the judge, the verb `evaluate`, validation loss, and quality.json of picks."""
