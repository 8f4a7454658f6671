"""`doctor`: what stands in the way on this machine."""

from __future__ import annotations
