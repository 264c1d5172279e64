"""savepoint phi and savepoint experiment: figures, reports, and refusals that name what is wrong."""
import csv
import json
import os
import shutil
import tempfile

from _savepoint import refused, run, run_json


def check_phi():
    found = run_json("phi", "--phi", "elu1,relu", "--rotary", "after", "--tokens", "256", "--length", "64")
    rows = found["phi"]
    assert sorted(row["phi"] for row in rows) == ["elu1", "relu"] and rows[0]["relative_error"] <= rows[1]["relative_error"]
    for row in rows:
        assert row["rotary"] and row["features"] == 64 and len(row["relative_error_by_layer"]) == 30
        assert 0 < row["relative_error"] < 5 and -1 <= row["cosine"] <= 1 and row["masked"] == 0, row
    refused("phi", "--phi", "softmax", because="none of identity")


def texts(folder):
    """Sentences against the same words upside down: found by anything that looks at the model."""
    words = "the old sailor told a long story about storms and quiet harbours far away from home".split()
    path = os.path.join(folder, "texts.csv")
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence", "kind", "number"])
        for i in range(40):
            turned = words[i % 9:] + words[:i % 9]
            writer.writerow([" ".join(turned), "plain", i])
            writer.writerow([" ".join(word[::-1] for word in turned), "reversed", i])
    return path


def check_experiment(folder):
    texts(folder)
    settings = os.path.join(folder, "experiment.json")
    with open(settings, "w") as file:
        json.dump({"name": "upside down", "data": [{"path": "texts.csv", "format": "csv", "text_field": "sentence",
                                                    "label_field": "kind", "anomalous_labels": ["reversed"]}],
                   "phi": ["elu1", "relu"], "forms": ["read_out"], "layers": ["middle"], "bootstrap": 50,
                   "detectors": ["mahalanobis", "knn"], "length_matched": False, "equal_features": 8}, file)
    out = os.path.join(folder, "report")
    found = run_json("experiment", settings, "--out", out)
    assert found["tested"] == 40 and found["fitted"] == 16, found
    assert len(found["rows"]) == 2 + 4 * 2 * 3
    by_role = {row["role"]: row for row in found["summary"]}
    assert by_role["log-probability alone"]["auroc"] > 0.95, by_role
    assert by_role["best activation, linear probe"]["auroc"] > 0.95, by_role
    for row in found["rows"]:
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"], row
    with open(os.path.join(out, "rows.csv"), newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found["rows"])
    with open(os.path.join(out, "report.json")) as file:
        assert len(json.load(file)["rows"][0]["score"]) == 40
    with open(os.path.join(out, "report.html")) as file:
        assert "upside down" in file.read()
    lines = run("experiment", settings).out
    assert "| default |" in lines and "length alone" in lines


def check_refusals(folder):
    assert any(one["name"] == "statements" for one in run_json("experiment", "--list"))
    refused("experiment", because="--builtin")
    refused("experiment", "--builtin", "feelings", because="none of statements")
    path = os.path.join(folder, "bad.json")
    for text, because in (('{"builtin": "statements", "phi": ["sigmoid"]}', "phi"), ('{"name": "x"}', "data"),
                          ('{"data": [{"path": "nowhere.csv", "format": "csv"}]}', "nowhere.csv")):
        with open(path, "w") as file:
            file.write(text)
        refused("experiment", path, because=because)


if __name__ == "__main__":
    scratch = tempfile.mkdtemp(prefix="savepoint-experiment-")
    try:
        check_phi()
        check_experiment(scratch)
        check_refusals(scratch)
    finally:
        shutil.rmtree(scratch)
