"""The events of a run, and the progress that is shown of them. Apart from the command line, only this package prints."""
