"""`savepoint latent` by the default sidecar: a thought of a session kept as z, compared with the exact one, and in a file."""
import json
import os
import tempfile

from _savepoint import refused, run, run_json

TEXT = "The keeper of the lighthouse wrote down the wind, the tide and every ship that passed"

with tempfile.TemporaryDirectory() as folder:
    session = f"{folder}/sea.savepoint"
    run("generate", "--prompt", TEXT, "--greedy", "--max-tokens", "16", "--session", session)
    tokens = run_json("session", "info", session)["tokens"]
    kept = run_json("latent", "keep", "--session", session, "--thought", "1")
    assert kept["thought"] == 2 and 0 <= kept["kl_next"] < 0.2, kept
    assert kept["z_bytes"] < kept["fp16_bytes"] / 8, kept

    # z is in the session in the place of keys and values, and verifies.
    facts = run_json("session", "info", session)
    assert facts["thoughts"] == 2 and facts["tokens"] == 2 * tokens, facts
    assert facts["bytes_by_kind"]["z"] == kept["z_bytes"], facts
    assert facts["bytes_by_kind"]["key"] == tokens * 30 * 192 * 4, facts  # of the exact thought alone
    run("session", "verify", session)
    record = json.load(open(f"{session}/manifest.json"))["thoughts"][1]
    assert record["edge"] == "decoded" and record["parent"] == 0 and not record["has_kv"], record
    assert record["latent"]["bytes"] == kept["z_bytes"] and record["latent"]["codec"] == kept["codec"], record

    # Exact up to where z begins; behind it the decoded state is near, and not the same.
    maps = run_json("drift", "--session", session, "--a", "1", "--b", "2")["maps"]
    for part in ("key", "value"):
        near = [row for row in maps if row["part"] == part][0]
        cells = near["distance"]
        assert max(max(map(max, pair)) for pair in cells[:4]) < 1e-3, part
        assert 1e-3 < max(max(map(max, pair)) for pair in cells[4:]) < 0.5, part

    # The same path as a file: as many bytes of z, and the same words for a while.
    z = f"{folder}/sea.safetensors"
    saved = run_json("latent", "save", "--session", session, "--thought", "1", "--out", z)
    assert saved["z_bytes"] == kept["z_bytes"] and saved["file_bytes"] == os.path.getsize(z), (saved, kept)
    back = run_json("latent", "resume", z, "--max-tokens", "8", "--compare")
    assert back["tokens"] == tokens and back["agreement"] >= 3, back
    refused("latent", "keep", "--session", session, "--thought", "9", because="there is no thought 9")
    refused("latent", "keep", "--session", session, "--thought", "1", "--codec", "x", because="has not been compared")
