"""Shares a run's operator: on the hub with a model card, as rounded weights to ship, and in formats of other programs."""
