"""Whether a wheel holds every file of the import packages, and nothing else."""

from __future__ import annotations

import sys
import tomllib
import zipfile
from pathlib import Path

target = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
roots, left_out = [Path(package) for package in target["packages"]], [Path(folder) for folder in target["exclude"]]
kept = {
    path.relative_to(root.parent).as_posix()
    for root in roots
    for path in root.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts and not any(path.is_relative_to(f) for f in left_out)
}
with zipfile.ZipFile(sys.argv[1]) as wheel:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
size = Path(sys.argv[1]).stat().st_size / 2**20
print(f"{len(inside)} files, {size:.1f} MB: {', '.join(root.name for root in roots)}")
if wrong := sorted(kept ^ inside):
    sys.exit(f"the wheel lacks, or should not hold: {', '.join(wrong)}")
