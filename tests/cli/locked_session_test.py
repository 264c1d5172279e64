"""A session that another process has open can be looked at and not written; the lock of a dead one is no obstacle."""
import fcntl
import json
import os
import tempfile

from _savepoint import refused, run

WRITE = ("generate", "--prompt", "The keeper of the lighthouse", "--greedy", "--max-tokens", "6",
         "--ignore-eos", "--session")

with tempfile.TemporaryDirectory() as folder:
    session = f"{folder}/a.savepoint"
    run(*WRITE, session)
    manifest = open(f"{session}/manifest.json", "rb").read()
    with open(f"{session}/lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        assert json.loads(run("session", "info", session).out)["thoughts"] == 1
        assert "sound" in run("session", "verify", session).out
        run("session", "export", session, "--out", f"{folder}/out")
        assert len(json.load(open(f"{folder}/out/graph.json", encoding="utf-8"))["thoughts"]) == 1
        said = run(*WRITE, session, status=1).err
        assert f"process {os.getpid()}" in said and "another name" in said, said
        assert open(f"{session}/manifest.json", "rb").read() == manifest
    # Its number is still in the file; nobody holds it.
    run(*WRITE, session)
    assert open(f"{session}/manifest.json", "rb").read() != manifest
