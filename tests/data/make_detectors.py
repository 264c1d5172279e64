#!/usr/bin/env python3
"""Writes detectors.json: small tables and what scikit-learn and PyOD make of them.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install scikit-learn==1.9.1 pyod==3.6.7
    /tmp/v/bin/python tests/data/make_detectors.py
"""
import json
import pathlib

import numpy as np
import pyod
import sklearn
from pyod.models.ecod import ECOD
from pyod.models.knn import KNN
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor


def table(rng, rows, columns, shift):
    """Correlated, skewed columns with some equal values; float32 as the C++ reads them."""
    mix = np.random.default_rng(5).normal(size=(columns, columns)) / np.sqrt(columns)
    x = rng.normal(size=(rows, columns)) @ mix + 0.3 * rng.exponential(size=(rows, columns)) + shift
    x[:, 0] = np.round(x[:, 0], 1)
    return np.round(x, 4).astype(np.float32)


def tree_arrays(forest):
    out = []
    for one in forest.estimators_:
        t = one.tree_
        out.append({"column": t.feature.tolist(), "left": t.children_left.tolist(), "right": t.children_right.tolist(),
                    "threshold": t.threshold.tolist(), "rows": t.n_node_samples.tolist()})
    return out


def case(seed, n, d):
    rng = np.random.default_rng(seed)
    normal, other, rows = table(rng, n, d, 0), table(rng, n, d, 1), np.concatenate(
        [table(rng, 12, d, 0), table(rng, 12, d, 1.5)])
    x, o, r = (a.astype(np.float64) for a in (normal, other, rows))
    gauss, gauss_other = LedoitWolf().fit(x), LedoitWolf().fit(o)
    pca = PCA(n_components=0.9, svd_solver="full").fit(x)
    residual = r - pca.inverse_transform(pca.transform(r))
    ecod = ECOD()
    ecod.fit(x)
    forest = IsolationForest(n_estimators=15, max_samples=min(32, n), random_state=3).fit(normal)
    many = IsolationForest(n_estimators=400, random_state=3).fit(normal)
    listed = lambda a: [float(v) for v in np.asarray(a).ravel()]
    return {
        "rows": n, "columns": d, "normal": listed(normal), "other": listed(other), "scored": listed(rows),
        "mahalanobis": listed(np.sqrt(gauss.mahalanobis(r))),
        "difference": listed(gauss.mahalanobis(r) - gauss_other.mahalanobis(r)),
        "knn": listed(KNN(n_neighbors=5, method="largest").fit(x).decision_function(r)),
        "lof": listed(-LocalOutlierFactor(n_neighbors=20, novelty=True).fit(x).score_samples(r)),
        "pca_residual": listed(np.linalg.norm(residual, axis=1)),
        "ecod": [float(ecod.decision_function(one[None])[0]) for one in r],
        "isolation_forest": listed(-many.score_samples(rows)),
        "trees": tree_arrays(forest), "tree_samples": int(forest.max_samples_),
        "trees_score": listed(-forest.score_samples(rows)),
    }


def measures():
    """Scores with ties, and what scikit-learn says of them."""
    rng = np.random.default_rng(8)
    label = rng.integers(0, 2, 60)
    score = np.round(rng.normal(size=60) + 0.8 * label, 1)
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    return {"label": label.tolist(), "score": score.tolist(), "auroc": roc_auc_score(label, score),
            "auprc": average_precision_score(label, score), "fpr": false.tolist(), "tpr": true.tolist(),
            "fpr_at_95": float(false[np.argmax(true >= 0.95)])}


def probe():
    rng = np.random.default_rng(9)
    x = np.round(rng.normal(size=(40, 6)), 4).astype(np.float32)
    y = (x[:, 0] - 0.5 * x[:, 1] + 0.7 * rng.normal(size=40) > 0).astype(int)
    fitted = LogisticRegression(C=0.5, tol=1e-10, max_iter=10000).fit(x.astype(np.float64), y)
    return {"rows": [float(v) for v in x.ravel()], "label": y.tolist(), "c": 0.5,
            "decision": fitted.decision_function(x.astype(np.float64)).tolist()}


def main():
    out = {"made_by": f"scikit-learn {sklearn.__version__}, PyOD {pyod.__version__}",
           "cases": [case(1, 60, 6), case(2, 30, 45)], "measures": measures(), "probe": probe()}
    path = pathlib.Path(__file__).with_name("detectors.json")
    path.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
