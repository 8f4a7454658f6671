"""The experiment file: settings, overrides and resolution. Needs no torch."""
