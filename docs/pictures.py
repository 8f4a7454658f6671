"""Makes the pictures of a page anew by running its code: `python docs/pictures.py uses` writes docs/images/uses-*.png."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def main(page: str) -> None:
    """Run the Python blocks of a page in an empty folder, and keep the pictures that they leave there."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        exec(compile(code, f"{page}.md", "exec"), {"__name__": "__main__"})
        for picture in sorted(Path(folder).glob(f"{page}-*.png")):
            print(shutil.copy(picture, DOCS / "images"))
        os.chdir(DOCS)


if __name__ == "__main__":
    main(sys.argv[1])
