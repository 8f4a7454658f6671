"""The events of a run, and the progress that is shown of them. Beside the command line, this room alone prints."""
