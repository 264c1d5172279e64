"""Writes ledoit_wolf.json: small matrices and what scikit-learn's LedoitWolf makes of them.

    pip install scikit-learn && python tests/data/make_ledoit_wolf.py
"""

import json
from pathlib import Path

import numpy
import sklearn
from sklearn.covariance import LedoitWolf


def cases(rng):
    yield "more samples than dimensions", rng.normal(size=(24, 5)) @ rng.normal(size=(5, 5)) + 3
    yield "fewer samples than dimensions", rng.normal(size=(6, 9)) * numpy.linspace(0.2, 4, 9)
    yield "heavy tails", rng.standard_t(3, size=(20, 4)) - 10
    yield "two samples", rng.normal(size=(2, 3))
    yield "a column that never varies", numpy.c_[rng.normal(size=(15, 2)), numpy.full(15, 7.0)]
    yield "rank one", numpy.outer(rng.normal(size=12), [1.0, 2.0, -1.0])
    yield "far from the origin", 1000 + rng.normal(size=(16, 3)) * [0.1, 1, 5]


def main():
    rng = numpy.random.default_rng(5)
    out = {"scikit_learn": sklearn.__version__, "cases": []}
    for name, samples in cases(rng):
        samples = samples.round(6)
        fit = LedoitWolf().fit(samples)
        out["cases"].append({
            "name": name,
            "samples": samples.tolist(),
            "mean": fit.location_.tolist(),
            "covariance": fit.covariance_.tolist(),
            "shrinkage": float(fit.shrinkage_),
        })
    path = Path(__file__).with_name("ledoit_wolf.json")
    path.write_text(json.dumps(out, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
