"""Output for people: pictures, the report of a run, the comparison of runs, and a trained operator applied to files."""
