"""What plugins build on: specs, hooks, and the base classes of datasets, sources, enforcers and metrics."""
