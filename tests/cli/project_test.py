"""savepoint project: a table and a session's latents in, places, labels and figures out."""
import csv
import os
import random
import shutil
import tempfile

from _savepoint import SOURCE, refused, run, run_json


def write_blobs(path, rows=120):
    random.seed(1)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *(f"c{c}" for c in range(8))])
        for i in range(rows):
            writer.writerow([f'blob "{i % 3}", {i}', *(random.gauss(20 if c == i % 3 else 0, 1) for c in range(8))])


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check_table(folder):
    points, out = os.path.join(folder, "blobs.csv"), os.path.join(folder, "map.csv")
    write_blobs(points)
    for method, figure in (("umap", "seed"), ("pca", "explained_variance")):
        figures = run_json("project", "--method", method, "--in", points, "--out", out, "--components", "3")
        assert figures["rows"] == 120 and figures["columns"] == 8 and figure in figures, figures
        assert 0.5 < figures["trustworthiness"] <= 1 and 0.5 < figures["continuity"] <= 1, figures
        rows = read(out)
        assert len(rows) == 120 and {"map", "position", "x", "y", "z", "name"} <= set(rows[0]), rows[0]
        assert rows[4]["name"] == 'blob "1", 4' and rows[4]["position"] == "4", rows[4]
    assert sum(figures["explained_variance"]) <= 1.0001
    again = [run("project", "--in", points, "--threads", threads).out for threads in ("1", "2")]
    assert again[0] == again[1] and again[0].startswith("map,thought,position,")
    return points


# How neighbours are found changes little here; what the clusters are is known.
def check_choices(folder, points):
    out = os.path.join(folder, "choices.csv")
    exact = run_json("project", "--in", points, "--search", "exact", "--clusters", "kmeans", "--cluster-count", "3",
                     "--out", out)
    assert exact["clusters"] == 3 and exact["neighbour_recall"] is None, exact
    found = {}
    for row in read(out):
        found.setdefault(row["name"].split(",")[0], set()).add(row["cluster"])
    assert len(found) == 3 and all(len(clusters) == 1 for clusters in found.values()), found
    near = run_json("project", "--in", points, "--search", "hnsw")
    assert near["neighbour_recall"] > 0.9 and abs(near["trustworthiness"] - exact["trustworthiness"]) < 0.05, near


def check_session(folder):
    session, out = os.path.join(folder, "sea.savepoint"), os.path.join(folder, "sea.csv")
    shutil.copytree(os.path.join(SOURCE, "sessions", "sea.savepoint"), session)  # opening one locks it
    figures = run_json("project", "--method", "pca", "--in", session, "--group", "3", "--first-tokens", "--out", out)
    rows = read(out)
    assert figures["rows"] == figures["points_asked"] == len(rows) > 10, figures
    assert {"thought", "position", "id", "text", "x", "y", "log_probability", "anomaly"} <= set(rows[0]), rows[0]
    assert [int(row["position"]) for row in rows] == list(range(len(rows)))
    tokens = len(rows)
    figures = run_json("project", "--method", "pca", "--in", session, "--group", "3", "--out", out)
    assert len(read(out)) == tokens - 4 and "first tokens" in figures["points_left_out"], figures
    # A map for each layer, and a point for each layer in one map.
    apart = run_json("project", "--method", "pca", "--in", session, "--layers", "2,9", "--arrangement", "separate",
                     "--out", out)
    assert [one["map"] for one in apart["maps"]] == ["layer 2", "layer 9"], apart
    assert len(read(out)) == 2 * (tokens - 4)
    run_json("project", "--method", "pca", "--in", session, "--layers", "2,9", "--arrangement", "stacked", "--out", out)
    assert [row["layer"] for row in read(out)][:4] == ["2", "9", "2", "9"]
    refused("project", "--in", session, "--group", "99", because="layer group 99 is not there")
    refused("project", "--in", session, "--arrangement", "stacked", because="spaces of their own")


with tempfile.TemporaryDirectory() as folder:
    points = check_table(folder)
    check_choices(folder, points)
    check_session(folder)
    refused("project", "--in", points, "--neighbors", "500", because="n_neighbors is 500")
    refused("project", "--in", points, "--min-dist", "7", because="min_dist")
    broken = os.path.join(folder, "broken.csv")
    with open(broken, "w") as file:
        file.write("1,2\n3\n")
    refused("project", "--in", broken, because="line 2 has 1 fields")
    refused("project", "--in", os.path.join(folder, "absent.csv"), because="--in", status=2)
