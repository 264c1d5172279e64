"""The example session: it verifies, read_session.py reads what Savepoint itself exports, and its graph is as described."""
import csv
import json
import math
import shutil
import subprocess
import tempfile

from _savepoint import PYTHON, SOURCE, run, run_json

EXAMPLE = f"{SOURCE}/sessions/sea.savepoint"


def read(folder):
    done = subprocess.run([PYTHON, f"{SOURCE}/sessions/read_session.py", "--json", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def close(a, b):
    return (a is None and b is None) or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7))


assert "sound" in run("session", "verify", EXAMPLE).out
verified = run_json("session", "verify", EXAMPLE)
assert verified["problems"] == [], verified
facts = verified["facts"]
assert (facts["thoughts"], facts["tokens"], facts["current"]) == (2, 94, 2), facts
assert facts["unreferenced_files"] == 0, facts

session = read(EXAMPLE)
assert session["current"] == 2 and session["model"] == facts["model"]["name"], session["current"]
first, branch = session["thoughts"]
assert (first["edge"], first["parent"], first["prefix"], len(first["tokens"])) == ("root", 0, 0, 73)
assert (branch["edge"], branch["parent"], branch["prefix"], len(branch["tokens"])) == ("intervention", 1, 44, 21)
assert branch["path"] == first["tokens"][:44] + branch["tokens"]
assert branch["tokens"][0] == first["tokens"][44], "the edited token itself is the same"
assert branch["tokens"] != first["tokens"][44:65], "what follows the edit is not"
[edit] = branch["edits"]
assert (edit["position"], edit["hidden_block"], edit["kv_blocks"]) == (44, 15, [13, 14, 15]), edit
assert edit["shapes"] == {"hidden": [576], "key": [3, 3, 64], "value": [3, 3, 64]}, edit
assert first["shapes"]["key"] == first["shapes"]["value"] == [73, 30, 3, 64], first["shapes"]
assert first["shapes"]["last"] == [73, 576]

with tempfile.TemporaryDirectory() as folder:
    copy = f"{folder}/sea.savepoint"  # opening writes a lock beside the manifest
    shutil.copytree(EXAMPLE, copy)
    run("session", "export", copy, "--out", f"{folder}/out")
    exported = json.load(open(f"{folder}/out/graph.json", encoding="utf-8"))
    assert [t["tokens"] for t in exported["thoughts"]] == [first["tokens"], branch["tokens"]]
    for mine, theirs in zip(session["thoughts"], exported["thoughts"]):
        for name in ("log_probability", "entropy"):
            assert all(map(close, mine["scalars"][name], theirs[name])), (mine["id"], name)
    assert first["scalars"]["log_probability"][0] is None and first["scalars"]["log_probability"][1] < 0
    assert exported["thoughts"][0]["provenance"]["prompt"] == "Why does the sea look blue?"
    rows = list(csv.DictReader(open(f"{folder}/out/transcript.csv", encoding="utf-8")))
    assert [int(row["id"]) for row in rows] == branch["path"]
    assert [int(row["position"]) for row in rows if row["edited"] == "1"] == [44]

    # One other bit in a blob: both say so.
    blob = f"{copy}/blobs/{json.load(open(f'{copy}/manifest.json'))['thoughts'][0]['segments'][0]['blob']}.safetensors"
    content = bytearray(open(blob, "rb").read())
    content[len(content) // 2] ^= 1
    open(blob, "wb").write(content)
    assert "is damaged" in run("session", "verify", copy, status=1).err
    damaged = subprocess.run([PYTHON, f"{SOURCE}/sessions/read_session.py", copy], capture_output=True, text=True)
    assert damaged.returncode != 0 and "is damaged" in damaged.stderr, damaged.stderr
