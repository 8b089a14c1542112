"""The Optuna study of a search: where it lies, how it is created, locked and reached, and the workers that share it."""
