"""What leaves a run: the hub with a model card, rounded weights to ship, and formats of other programs."""
