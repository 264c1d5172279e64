"""A session saved from the command line: info, verify, export, reading it in Python, and damage."""
import glob
import json
import os
import shutil
import subprocess
import tempfile

from _savepoint import PYTHON, SOURCE, refused, run, run_json

with tempfile.TemporaryDirectory() as folder:
    session = f"{folder}/first.savepoint"
    made = run_json("generate", "--prompt", "The keeper of the lighthouse", "--greedy", "--max-tokens", "12",
                    "--ignore-eos", "--session", session)
    facts = json.loads(run("session", "info", session).out)
    assert facts["thoughts"] == 1 and facts["tokens"] >= 12, facts
    assert "sound" in run("session", "verify", session).out
    assert run_json("session", "verify", session)["problems"] == []

    read = subprocess.run([PYTHON, f"{SOURCE}/sessions/read_session.py", session, "--json"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    assert str(made["ids"])[1:-1] in read.stdout.replace("\n", " ") or json.loads(read.stdout), read.stdout

    run("session", "export", session, "--out", f"{folder}/out")
    transcript = open(f"{folder}/out/transcript.csv", encoding="utf-8").read()
    assert transcript.count("\n") >= 12, transcript
    json.load(open(f"{folder}/out/graph.json", encoding="utf-8"))

    damaged = f"{folder}/damaged.savepoint"
    shutil.copytree(session, damaged)
    blob = glob.glob(f"{damaged}/blobs/*.safetensors")[0]
    with open(blob, "r+b") as file:
        file.seek(os.path.getsize(blob) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    done = run("session", "verify", damaged, status=1)
    assert os.path.basename(blob)[:12] in done.err, done.err

    foreign = f"{folder}/foreign.savepoint"
    shutil.copytree(session, foreign)
    manifest = json.load(open(f"{foreign}/manifest.json"))
    manifest["model"]["sha256"] = "0" * 64
    json.dump(manifest, open(f"{foreign}/manifest.json", "w"))
    refused("session", "export", foreign, "--out", f"{folder}/none", because="model")
    refused("session", "info", f"{folder}/absent.savepoint", because="absent.savepoint")
