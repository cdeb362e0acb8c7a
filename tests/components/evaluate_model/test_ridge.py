"""The streamed ridge equals scikit-learn's on standardised features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from components.evaluate_model.ridge import fit_ridges


@pytest.mark.parametrize(("rows", "columns"), [(300, 20), (40, 90)])
def test_equals_scikit_learn_whatever_the_chunks(rows, columns):
    generator = np.random.default_rng(0)
    features = (3 + generator.normal(size=(rows, columns)) * generator.uniform(0.1, 5, columns)).astype(np.float32)
    features[:, 4] = 7.0  # a column without variance gets no weight
    labels = generator.normal(size=(rows, 3)) + features[:, :3]
    chunks = [range(start, min(start + 37, rows)) for start in range(0, rows, 37)]
    scale = np.where(features.std(axis=0) > 1e-6, features.std(axis=0, dtype=np.float64), 1)
    standardised = (features - features.mean(axis=0, dtype=np.float64)) / scale
    for ridge in fit_ridges(lambda part: features[part.start : part.stop], chunks, labels, [0.01, 1.0]):
        expected = SklearnRidge(alpha=ridge.penalty * rows).fit(standardised, labels).predict(standardised)
        np.testing.assert_allclose(ridge.predict(features), expected, atol=2e-3)
