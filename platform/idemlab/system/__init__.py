"""Operating-system services: atomic file writes, folder locks, stop signals, thread settings."""
