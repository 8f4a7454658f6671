"""What plugin authors meet: specs, hooks, and the base classes of datasets, sources, enforcers and metrics."""
