"""The operating system as the core needs it: whole files, one writer to a folder, being asked to stop."""
