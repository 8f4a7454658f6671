"""Output for people: pictures, pages (the report of a run, comparisons, the board), and an operator applied to files."""
