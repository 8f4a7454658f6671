"""Principal components."""

from __future__ import annotations

import pytest
import torch

from idemlab import Dataset, principal_components
from idemlab_metrics.pca import Pca


@pytest.mark.parametrize(("rows", "entries"), [(50, 8), (12, 30)], ids=["tall", "wide"])
def test_principal_components_are_the_singular_vectors(rows, entries):
    X = torch.randn(rows, entries, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 2
    mean, components = principal_components(X, 5)
    torch.testing.assert_close(mean, X.mean(0))
    expected = torch.linalg.svd(X - X.mean(0), full_matrices=False).Vh[:5].T
    torch.testing.assert_close((components.T @ expected).abs(), torch.eye(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_pca_takes_any_data_and_keeps_what_there_is():
    rows = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0))
    features = Pca(Dataset.of_tensors(rows, rows))
    assert features.name == "pca-6"
    assert features.facts == {}
    torch.testing.assert_close(torch.pdist(features(rows)), torch.pdist(rows.flatten(1).double()))
    assert Pca(Dataset.of_tensors(rows[:4], rows)).name == "pca-3"
    wide = torch.randn(90, 100)
    assert Pca(Dataset.of_tensors(wide, wide)).name == "pca-64"


def test_a_single_row_has_one_component():
    mean, components = principal_components(torch.ones(1, 3, dtype=torch.float64), 5)
    assert mean.shape == (3,)
    assert components.shape == (3, 1)
