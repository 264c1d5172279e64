#!/usr/bin/env python3
"""Our UMAP beside umap-learn 0.5 on the same points and the same processors, in one run, as one JSON.

    cmake --build build/release --target bench_umap_bench
    tests/bench/umap_compare.py [--points FILE.npy | --latents] [--rows 10000] [--columns 256] [--program PATH]

--latents: z of the middle layer group, of corpus text (needs `savepoint fit --default`); without either, sheets of
2 to 5 dimensions with noise. umap-learn runs twice and its second, compiled, run counts; ours runs in its reproducible
mode, as by default, and in its parallel one; the two take turns, and the median of --rounds counts. umap-learn has no
random_state, so that it uses its threads. Trustworthiness (k = 15) of both is scikit-learn's, over all points.

Python needs umap-learn==0.5.* and scikit-learn; without them a virtual environment is made in --venv.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", help="NPY file, float32 [rows, columns]")
    parser.add_argument("--latents", action="store_true")
    parser.add_argument("--rows", type=int, default=10000)
    parser.add_argument("--columns", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default=str(ROOT / "build/release/tests/bench_umap_bench"))
    parser.add_argument("--venv", default=os.path.join(tempfile.gettempdir(), "savepoint-umap-venv"))
    return parser.parse_args()


def with_packages(args):
    """Runs this script again in an environment that has umap-learn, unless this one does."""
    try:
        import sklearn, umap  # noqa: F401
        return
    except ImportError:
        python = os.path.join(args.venv, "bin", "python")
    if not os.path.exists(os.path.join(args.venv, "ready")):
        subprocess.run([sys.executable, "-m", "venv", args.venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "umap-learn==0.5.*", "scikit-learn"], check=True)
        Path(args.venv, "ready").touch()
    os.execv(python, [python, *sys.argv])


def sheets(rows, columns, seed):
    """Curved sheets of 2 to 5 dimensions, of unequal density, some touching, plus noise in every direction."""
    import numpy as np
    random = np.random.default_rng(seed)
    counts = np.maximum(1, (random.dirichlet(np.full(24, 2.0)) * rows).astype(int))
    counts[0] += rows - counts.sum()
    parts = []
    for count in counts:
        dimensions = random.integers(2, 6)
        u = random.uniform(-1, 1, (count, dimensions))
        waves = [f(2 * u @ random.normal(size=(dimensions, 8))) for f in (np.sin, np.cos)]
        features = np.concatenate([u, *waves], 1)
        mixed = features @ random.normal(size=(features.shape[1], columns)) / np.sqrt(columns)
        parts.append(mixed + 3 * random.normal(size=columns) / np.sqrt(columns))
    points = np.concatenate(parts)
    points += 0.6 * random.normal(size=points.shape) / np.sqrt(columns)
    return random.permutation(points).astype(np.float32)


def points_file(args, folder):
    import numpy as np
    if args.points:
        return args.points, "file"
    path = os.path.join(folder, "points.npy")
    if args.latents:
        subprocess.run([args.program, "latents", path, str(args.rows), str(args.columns)], check=True,
                       stdout=subprocess.DEVNULL)
        return path, "latents"
    np.save(path, sheets(args.rows, args.columns, args.seed))
    return path, "sheets"


def ours(args, points, out, *mode):
    run = subprocess.run([args.program, "map", points, out, *mode], check=True, stdout=subprocess.PIPE)
    return json.loads(run.stdout)


def theirs(points):
    import umap
    start = time.perf_counter()
    layout = umap.UMAP(n_neighbors=15, min_dist=0.1).fit_transform(points)
    return layout, time.perf_counter() - start


def compare(args, folder):
    import numpy as np
    import sklearn, umap
    from sklearn.manifold import trustworthiness
    path, kind = points_file(args, folder)
    points = np.load(path)
    compiling = theirs(points)[1]
    seconds = {"umap_learn": [], "reproducible": [], "parallel": []}
    layouts, figures = {}, {}
    for turn in range(args.rounds):
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
        layouts["umap_learn"], spent = theirs(points)
        seconds["umap_learn"].append(spent)
        for name, mode in (("reproducible", ()), ("parallel", ("parallel",))):
            out = os.path.join(folder, name + ".npy")
            figures[name] = ours(args, path, out, *mode)
            seconds[name].append(figures[name]["seconds"])
            layouts[name] = np.load(out)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "points": kind, "rows": len(points), "columns": points.shape[1], "k": 15,
        "versions": {"umap_learn": umap.__version__, "scikit_learn": sklearn.__version__},
        "processors": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "seconds": {name: [round(v, 3) for v in values] for name, values in seconds.items()},
        "seconds_umap_learn_first": round(compiling, 3),
        "times_faster": {name: round(median["umap_learn"] / median[name], 2) for name in ("reproducible", "parallel")},
        "trustworthiness": {n: round(float(trustworthiness(points, l, n_neighbors=15)), 5) for n, l in layouts.items()},
        "ours": figures,
    }


def main():
    args = arguments()
    with_packages(args)
    import warnings
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(args, folder)))


if __name__ == "__main__":
    main()
