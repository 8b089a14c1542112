"""Training: the elastic step, its optimisers, budgets in steps, resume states, and sub-DiTs trained on their own."""
