"""Experiment files: settings, overrides and resolution. Works without torch."""
