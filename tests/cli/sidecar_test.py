"""The default sidecar on text it has not seen: reconstruction, resuming, anomaly calibration, dose and response.

needs: the default sidecar (fixture default_sidecar)
"""
import csv
import json
import math
import tempfile

from _savepoint import refused, run, run_json

result = run_json("evaluate", "--tokens", "10240", "--length", "192", "--prefix", "128")
codec = result["codecs"][0]
assert result["held_out_tokens"] >= 10000, result
assert codec["name"] == "joint", codec
assert 0 < codec["hidden_fvu"] < 0.015 and 0 < codec["k_fvu"] < 0.015 and 0 < codec["v_fvu"] < 0.02, codec
assert codec["kl_nats"] < 0.004 and codec["top1_agreement"] > 0.96, codec
assert 15 < codec["ratio_fp16"] < 18, codec
assert 0.03 <= result["anomaly_above_95th_percentile"] <= 0.07, result
assert result["mark_threshold"] == 99.9 and 0 <= result["anomaly_marked"] <= 0.01, result

ordinary = run_json("score", "--prompt", "The meeting will be held in the town hall on Tuesday evening, and everyone is welcome.")
assert len(ordinary["tokens"]) > 10
layers = ordinary["tokens"][0]["percentile_by_layer_head"]
assert len(layers) == 30 and len(layers[0]) == 9
assert all(0 <= value <= 100 for layer in layers for value in layer)
assert ordinary["threshold"] == 99.9
assert all(token["marked"] == (token["percentile"] >= 99.9) for token in ordinary["tokens"]), ordinary["tokens"]
few = run_json("score", "--prompt", "The meeting will be held on Tuesday.", "--threshold", "0")
assert all(token["marked"] for token in few["tokens"]), few
assert ordinary["fitted_tokens"] + ordinary["calibration_tokens"] >= 20000, ordinary
assert ordinary["form"] == "read_out" and ordinary["detector"] == "mahalanobis" and ordinary["masked"] == 0, ordinary

# The sums of a pruned cache beside the full ones: a window of everything is the whole.
text = ("--prompt", "The meeting will be held on Tuesday.")
whole = run_json("score", *text, "--prune", "window:100")
assert all(abs(t["percentile"] - t["pruned_percentile"]) < 0.5 for t in whole["tokens"]), whole["tokens"]
for pruning in ("heavy:2", "mass-weighted"):
    pruned = run_json("score", *text, "--prune", pruning)
    assert pruned["pruning"] == pruning
    assert [t["percentile"] for t in pruned["tokens"]] == [t["percentile"] for t in whole["tokens"]]
    assert any(abs(t["percentile"] - t["pruned_percentile"]) > 1 for t in pruned["tokens"]), pruned["tokens"]

# Other choices: their reference is fitted once, on the sidecar's own text, and kept beside it.
with tempfile.TemporaryDirectory() as data:
    small = ("--data", data)
    run("fit", *small, "--tokens", "2048", "--calibration-tokens", "1024", "--length", "128", "--own-samples", "0",
        "--form", "separate", "--hidden-components", "32", "--group-size", "6")
    choice = (*text, "--phi", "relu", "--form", "rows", "--detector", "knn", "--rotary", "after", *small)
    first = run("score", *choice, "--json")
    assert "fitting it, once" in first.err and "stored it in" in first.err, first.err
    again = run("score", *choice, "--json")
    assert again.err == "" and again.out == first.out, again.err
    other = json.loads(first.out)
    assert len(other["tokens"][0]["percentile_by_layer_head"][0]) == 3 and other["masked"] > 0  # KV heads
    assert all(math.isfinite(t["score"]) for t in other["tokens"])

with tempfile.TemporaryDirectory() as folder:
    session = f"{folder}/dose.savepoint"
    run_json("generate", "--prompt", "The capital of France is", "--greedy", "--max-tokens", "8", "--ignore-eos", "--session", session)
    table = f"{folder}/dose.csv"
    edit = ("edit", "--session", session, "--thought", "1", "--token", "4", "--group", "2", "--component", "0",
            "--values=-4,-3,-2,-1,0,1,2,3,4")
    run(*edit, "--csv", table)
    rows = list(csv.DictReader(open(table, encoding="utf-8")))
    assert [float(row["value_sd"]) for row in rows] == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    effects = [float(row["kl_edited_nats"]) for row in rows]
    control = float(rows[0]["kl_control_nats"])
    assert all(abs(float(row["kl_control_nats"]) - control) < 1e-6 for row in rows)
    assert max(effects) > 1e-3 and max(effects) > 3 * min(effects), effects
    # Hidden states, keys and values are one z: there is no part to choose.
    refused(*edit, "--part", "value", "--block", "9", because="one z")
