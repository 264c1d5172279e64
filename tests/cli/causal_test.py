"""savepoint drift, patch: two texts and two thoughts of a session, from the files that they write as well."""
import csv
import os
import tempfile

from _savepoint import SOURCE, refused, run, run_json

TEXTS = ("--text-a", "The capital of France is the city of", "--text-b", "The capital of Germany is the city of")


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check_drift(folder):
    out = os.path.join(folder, "drift.csv")
    result = run_json("drift", *TEXTS, "--csv", out)
    pairs = result["alignment"]["pairs"]
    assert [p["same"] for p in pairs] == [True] * 3 + [False] + [True] * 4, pairs
    maps = {m["part"]: m for m in result["maps"]}
    assert set(maps) == {"hidden", "key", "value", "attention_state", "latent"}, list(maps)
    hidden = maps["hidden"]
    assert hidden["first"]["a"] == 4 and hidden["first"]["distance"] > result["band"], hidden["first"]
    assert len(hidden["distance"]) == 8 and len(hidden["distance"][0]) == hidden["rows"] == 30
    assert max(v for row in hidden["distance"][2] for v in row) < 1e-3
    rows = read(out)
    assert len(rows) == sum(8 * m["rows"] * m["heads"] for m in result["maps"])
    assert abs(float(rows[4 * 30 + 7]["distance"]) - hidden["distance"][4][7][0]) < 1e-6
    assert "token 4" in run("drift", *TEXTS).out
    other = run_json("drift", *TEXTS, "--phi", "exp")
    assert other["phi"] == "exp"
    for mine, theirs in zip(result["maps"], other["maps"]):
        same = mine == theirs
        assert same == (mine["part"] != "attention_state"), mine["part"]
    turned = run_json("drift", *TEXTS, "--phi", "exp", "--rotary", "after")
    for mine, theirs in zip(other["maps"], turned["maps"]):
        assert (mine == theirs) == (mine["part"] != "attention_state"), mine["part"]
    refused("drift", *TEXTS, "--phi", "cosine", because="cosine")


def check_patch(folder):
    out = os.path.join(folder, "patch.csv")
    result = run_json("patch", *TEXTS, "--site", "resid,head", "--csv", out)
    assert result["target"]["text"] == " Paris" and result["distractor"]["text"] == " Berlin", result["target"]
    resid, head = result["maps"]
    assert len(resid["recovered"]) == 30 and len(resid["recovered"][0]) == 8 and len(head["kl"][0]) == 9
    # All of the outcome comes from the country's token below and from the last token at the top.
    assert resid["recovered"][0][3] > 0.8 and resid["recovered"][29][7] > 0.99, resid["recovered"]
    assert abs(resid["recovered"][29][3]) < 0.01 and abs(resid["kl"][29][7]) < 1e-3
    rows = read(out)
    assert len(rows) == 30 * (8 + 9) and rows[3]["token"] == " Germany"
    result = run_json("patch", *TEXTS, "--site", "head", "--head-layer", "23", "--csv", out)
    by_layer, by_token = result["maps"]
    assert by_layer["head_layer"] == -1 and by_token["head_layer"] == 23
    assert len(by_token["recovered"]) == 9 and len(by_token["recovered"][0]) == 8
    assert by_token["recovered"][4][7] > 0.5, by_token["recovered"]  # README: head 4 of layer 23 at the last token
    last = read(out)[-1]
    assert last["layer"] == "23" and last["head"] == "8" and last["position_destination"] == "7", last
    refused("patch", *TEXTS, "--head-layer", "30", because="no layer 30")
    refused("patch", *TEXTS, "--target", "two tokens", because="--target")


def check_lens(folder):
    text, out = ("--text", "The capital of France is the city of"), os.path.join(folder, "lens.csv")
    result = run_json("lens", *text, "--csv", out, "--distractor", " London")
    tokens = result["tokens"]
    assert len(tokens) == 8 and len(tokens[0]["layers"]) == 30
    top = tokens[7]["layers"][29]
    assert top["top"][0]["text"] == " Paris" and top["kl"] == 0 and top["difference"] > 0, top
    assert tokens[7]["layers"][2]["kl"] > 1
    assert len(read(out)) == 8 * 30 and read(out)[-1]["first"] == " Paris"
    decoded = run_json("lens", *text, "--decoded")
    assert 0 < decoded["tokens"][7]["layers"][29]["kl"] < 3
    refused("lens", because="a run")


def check_attention():
    text = ("--text", "The capital of France is the city of")
    heads = run_json("attention", *text, "--token", "5")["heads"]
    assert len(heads) == 30 * 9 and all(abs(sum(h["weight"]) - 1) < 1e-4 and len(h["weight"]) == 6 for h in heads)
    assert len(run_json("attention", *text, "--layer", "3", "--head", "2")["heads"]) == 1
    refused("attention", *text, "--layer", "77", because="--layer")
    # What one head of one layer paid to a token, query by query, is what the token received there.
    received = run_json("attention", *text, "--received", "--layer", "3", "--head", "2")
    assert received["unit"] == "queries"
    paid = [run_json("attention", *text, "--token", str(t), "--layer", "3", "--head", "2")["heads"][0]["weight"]
            for t in range(5, 8)]
    for position in (5, 6, 7):
        later = sum(weight[position] for weight in paid if len(weight) > position + 1)
        assert abs(received["tokens"][position]["received"] - later) < 1e-4, (position, received, paid)


def check_diagnose():
    result = run_json("diagnose", "--prompts", "4", "--prefix", "16", "--continuation", "4")
    metrics = {m["name"]: m for m in result["metrics"]}
    assert metrics["diversity"]["healthy"] is True and len(result["outputs"]) == 4, metrics
    assert metrics["first_token_accuracy"]["value"] >= 0.5
    assert "mean pairwise cosine" in run("diagnose", "--subject", "latents", "--prompts", "3").out
    refused("diagnose", "--soft-prompts", "/nowhere.safetensors", because="/nowhere.safetensors")


def check_session():
    session = os.path.join(SOURCE, "sessions", "sea.savepoint")
    result = run_json("drift", "--session", session, "--a", "1", "--b", "2")
    assert result["alignment"]["shared"] > 10
    assert all(m["distance"] for m in result["maps"])
    refused("drift", "--session", session, "--a", "1", because="--b")
    refused("drift", "--session", session, "--a", "1", "--b", "99", because="99")
    refused("drift", "--text-a", "x", because="two runs")


with tempfile.TemporaryDirectory() as folder:
    check_drift(folder)
    check_patch(folder)
    check_lens(folder)
    check_attention()
    check_diagnose()
    check_session()
