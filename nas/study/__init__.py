"""The Optuna study of a search: its location, identity, creation, lock, storage, trials and workers."""
