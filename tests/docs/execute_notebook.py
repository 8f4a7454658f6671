"""Runs a notebook in an empty folder and writes it with its outputs: `python execute_notebook.py NOTEBOOK FOLDER RESULT`."""

from __future__ import annotations

import sys

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
for cell in [cell for cell in notebook.cells if cell.cell_type == "code"]:
    cell.metadata.pop("execution", None)  # when each cell ran
    # Warnings of other packages name folders of this machine.
    cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
nbformat.write(notebook, sys.argv[3])
