"""What every room stands on: the error family, the run folder and its files, progress, names of quantities."""
