"""A sweep sends the catalog to its workers by pickle, so pickle must accept everything the built-in plugins offer."""

from __future__ import annotations

import pickle

import pytest

import idemlab
from idemlab.contracts.specs import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_spec_can_be_pickled(kind: str) -> None:
    for provided in idemlab.installed().entries(kind):
        assert pickle.loads(pickle.dumps(provided.spec)).name == provided.spec.name
