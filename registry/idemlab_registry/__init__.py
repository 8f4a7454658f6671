"""Named experiments and studies, the index of known plugins, and records of reproduced results."""
