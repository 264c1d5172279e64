"""Writes collapse.json: small tables of vectors and what numpy makes of them.

    pip install numpy && python tests/data/make_collapse.py
"""

import json
from pathlib import Path

import numpy


def tables(rng):
    yield "independent", rng.normal(size=(12, 7))
    yield "nearly the same", 5 + 0.01 * rng.normal(size=(10, 6))
    yield "one direction", numpy.outer(rng.normal(size=9), rng.normal(size=5)) + 0.05 * rng.normal(size=(9, 5))
    yield "fewer rows than columns", rng.normal(size=(4, 11)) * numpy.linspace(0.1, 3, 11)


def main():
    rng = numpy.random.default_rng(8)
    out = {"numpy": numpy.__version__, "cases": []}
    for name, rows in tables(rng):
        rows = rows.round(6)
        unit = rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
        cosine = unit @ unit.T
        variance = numpy.sort(numpy.linalg.eigvalsh(numpy.cov(rows.T)))[::-1].clip(0)[:min(rows.shape)]
        singular = numpy.linalg.svd(rows - rows.mean(0), compute_uv=False)
        share = singular / singular.sum()
        share = share[share > 1e-15]
        out["cases"].append({
            "name": name,
            "rows": rows.tolist(),
            "mean_cosine": float(cosine[numpy.triu_indices(len(rows), 1)].mean()),
            "pca_variance": (variance / variance.sum()).tolist(),
            "effective_rank": float(numpy.exp(-(share * numpy.log(share)).sum())),
        })
    path = Path(__file__).with_name("collapse.json")
    path.write_text(json.dumps(out, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
