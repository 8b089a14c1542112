"""Step distillation: the few-step teacher, K-DMD, and the verb that applies both to a pick."""
