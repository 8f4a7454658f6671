"""Rank control for idemlab, an example of a plugin that is a distribution of its own."""
