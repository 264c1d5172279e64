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
        assert len(rows) == 120 and list(rows[0]) == ["row", "name", "x", "y", "z"], rows[0]
        assert rows[4]["name"] == 'blob "1", 4', rows[4]
    assert sum(figures["explained_variance"]) <= 1.0001
    again = [run("project", "--in", points, "--threads", threads).out for threads in ("1", "2")]
    assert again[0] == again[1] and again[0].startswith("row,name,x,y\n")
    return points


def check_session(folder):
    session, out = os.path.join(folder, "sea.savepoint"), os.path.join(folder, "sea.csv")
    shutil.copytree(os.path.join(SOURCE, "sessions", "sea.savepoint"), session)  # opening one locks it
    figures = run_json("project", "--method", "pca", "--in", session, "--group", "3", "--out", out)
    rows = read(out)
    assert figures["rows"] == len(rows) > 10
    assert {"thought", "position", "id", "text", "x", "y"} <= set(rows[0]), rows[0]
    assert [int(row["position"]) for row in rows] == list(range(len(rows)))
    refused("project", "--in", session, "--group", "99", because="--group: is 99")


with tempfile.TemporaryDirectory() as folder:
    points = check_table(folder)
    check_session(folder)
    refused("project", "--in", points, "--neighbors", "500", because="n_neighbors is 500")
    refused("project", "--in", points, "--min-dist", "7", because="min_dist")
    broken = os.path.join(folder, "broken.csv")
    with open(broken, "w") as file:
        file.write("1,2\n3\n")
    refused("project", "--in", broken, because="line 2 has 1 fields")
    refused("project", "--in", os.path.join(folder, "absent.csv"), because="--in", status=2)
