"""A sweep sends the catalog and its trials to workers by pickle, which must accept all that the built-in plugins offer."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

import idemlab
from idemlab.catalog.paths import Placed
from idemlab.contracts.specs import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_spec_can_be_pickled(kind: str) -> None:
    for provided in idemlab.installed().entries(kind):
        assert pickle.loads(pickle.dumps(provided.spec)).name == provided.spec.name


def test_every_experiment_can_be_pickled() -> None:
    """Once a sweep of those under a condition failed with two workers."""
    for provided in idemlab.installed().entries("experiment"):
        experiment = idemlab.resolve(provided.spec.name)
        sent = pickle.loads(pickle.dumps(experiment))
        assert sent.table() == experiment.table(), provided.spec.name


def test_text_of_a_file_stays_in_its_folder() -> None:
    text = Placed("data", Path("/experiments"))
    for same in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert (same, type(same), same.folder) == ("data", Placed, Path("/experiments"))
