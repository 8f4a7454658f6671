"""Output for people: pictures, the report of a run, the comparison of runs, the board over all, and a trained operator applied to files."""
