#!/usr/bin/env python3
"""Writes clusters.json: points and what scikit-learn's HDBSCAN and KMeans make of them.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install scikit-learn==1.9.1 && /tmp/v/bin/python tests/data/make_clusters.py
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.cluster import HDBSCAN, KMeans


def blobs(rng):
    """Four blobs of different density and size, a ring, and a scatter of noise; float32, as the C++ reads them."""
    parts = [rng.normal(c, s, (n, 2)) for c, s, n in
             [((0, 0), 0.3, 40), ((4, 0), 0.6, 50), ((0, 5), 0.2, 25), ((5, 5), 0.9, 60)]]
    turn = rng.uniform(0, 2 * np.pi, 45)
    parts.append(np.stack([-5 + 1.5 * np.cos(turn), 2 + 1.5 * np.sin(turn)], 1) + rng.normal(0, 0.06, (45, 2)))
    parts.append(rng.uniform(-8, 8, (30, 2)))
    return np.round(np.concatenate(parts), 4).astype(np.float32)


def main():
    points = blobs(np.random.default_rng(11))
    cases = []
    for least, samples in [(10, None), (5, None), (15, 5), (8, 1)]:
        found = HDBSCAN(min_cluster_size=least, min_samples=samples, algorithm="brute", copy=True).fit(points)
        cases.append({"min_cluster_size": least, "min_samples": samples or 0, "label": found.labels_.tolist()})
    best = KMeans(5, n_init=50, random_state=1, tol=0).fit(points)
    out = {"made_by": f"scikit-learn {sklearn.__version__}", "points": [[float(x) for x in row] for row in points],
           "hdbscan": cases, "kmeans": {"clusters": 5, "inertia": float(best.inertia_), "label": best.labels_.tolist()}}
    path = pathlib.Path(__file__).with_name("clusters.json")
    path.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
