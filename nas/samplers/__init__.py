"""Which sub-DiT to evaluate next: NSGA-II, its surrogate, and the other samplers; pure functions of seed and trials."""
