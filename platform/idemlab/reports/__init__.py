"""What people look at: pictures, the report of a run, runs side by side, a trained operator applied to files."""
