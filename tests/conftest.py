"""Every worker computes with one thread: two workers of two threads each on two cores slow each other down tenfold."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
