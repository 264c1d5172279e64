#!/usr/bin/env python3
"""Reads a Savepoint session without Savepoint: its manifest is JSON, its blobs are safetensors.

    python3 read_session.py NAME.savepoint            # the thoughts, for people
    python3 read_session.py --json NAME.savepoint     # the same for programs

Needs numpy and safetensors. Copy what you need from here: Session.thought() is all there is to it.
"""

import argparse
import hashlib
import json
import math
import pathlib
import sys

import numpy
from safetensors.numpy import load

SCALARS = ("log_probability", "entropy", "anomaly", "hidden_fvu")


class Session:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        if self.manifest["schema_version"] not in (1, 2):
            raise SystemExit(f"manifest.json: schema_version {self.manifest['schema_version']} is neither 1 nor 2")
        self.records = {record["id"]: record for record in self.manifest["thoughts"]}

    def blob(self, name):
        """One blob as {tensor name: array}. A blob's name is the SHA-256 of its bytes."""
        path = self.folder / "blobs" / f"{name}.safetensors"
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise SystemExit(f"{path}: is damaged")
        return load(content)

    def thought(self, id):
        """The arrays of one thought's own tokens: its segments of at most 256 tokens, joined.

        ids [n]; log_probability, entropy, anomaly, hidden_fvu [n]; top_ids, top_probabilities [n, 10];
        key (before rotary embedding), value [n, layers, kv_heads, head_dim]; last [n, d_model], the
        residual stream after the last block. What was not kept is absent.
        """
        parts = [self.blob(segment["blob"]) for segment in self.records[id]["segments"]]
        if not parts:
            return {"ids": numpy.zeros(0, numpy.int32)}
        return {name: numpy.concatenate([part[name] for part in parts]) for name in parts[0]}

    def edits(self, id):
        """The exact rows that an intervention put in the place of what the model computed.

        At token `position` of the path: `hidden` replaces the residual stream after `hidden_block`;
        `key` and `value` [len(kv_blocks), kv_heads, head_dim] replace those of the blocks `kv_blocks`.
        """
        for edit in self.records[id]["edits"]:
            tensors, start = self.blob(edit["blob"]), f"edit.{edit['position']}."
            yield edit, {name[len(start):]: array for name, array in tensors.items() if name.startswith(start)}

    def latent(self, id):
        """Of a thought that is kept as z: its bytes, for the codec that the record names. Else None."""
        record = self.records[id].get("latent")
        return self.blob(record["blob"])["z"].tobytes() if record else None

    def path(self, id):
        """Token ids from the root to the end of a thought: `prefix` tokens of its parent's path, then its own."""
        own = self.thought(id)["ids"].tolist()
        record = self.records[id]
        return (self.path(record["parent"])[: record["prefix"]] if record["parent"] else []) + own


def summary(session, record):
    arrays = session.thought(record["id"])
    return {
        "id": record["id"],
        "parent": record["parent"],
        "prefix": record["prefix"],
        "edge": record["edge"],
        "label": record["label"],
        "tokens": arrays["ids"].tolist(),
        "path": session.path(record["id"]),
        # NaN, which JSON does not know, means: not measured.
        "scalars": {
            name: [None if math.isnan(x) else x for x in arrays[name].tolist()] for name in SCALARS if name in arrays
        },
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "z": {"codec": record["latent"]["codec"], "bytes": len(session.latent(record["id"]))} if "latent" in record else None,
        "edits": [
            {
                "position": edit["position"],
                "hidden_block": edit["hidden_block"],
                "kv_blocks": edit["kv_blocks"],
                "shapes": {name: list(array.shape) for name, array in rows.items()},
            }
            for edit, rows in session.edits(record["id"])
        ],
    }


def show(thought):
    place = f"after {thought['prefix']} tokens of {thought['parent']}" if thought["parent"] else "from the start"
    print(f"thought {thought['id']} ({thought['edge']}, {place}) {thought['label']}".rstrip())
    if thought["z"]:
        print(f"  kept as z by {thought['z']['codec']}: {thought['z']['bytes']} bytes")
    for edit in thought["edits"]:
        print(f"  edited token {edit['position']}: {edit['shapes']}")
    names = list(thought["scalars"])
    print("  position  token " + " ".join(f"{name:>16}" for name in names))
    for i, token in enumerate(thought["tokens"]):
        values = (thought["scalars"][name][i] for name in names)
        print(f"  {thought['prefix'] + i:8} {token:6} " + " ".join(f"{'-' if v is None else f'{v:.4f}':>16}" for v in values))
    print(f"  {thought['shapes']}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", help="NAME.savepoint")
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of text")
    arguments = arguments.parse_args()
    session = Session(arguments.folder)
    thoughts = [summary(session, record) for record in session.manifest["thoughts"]]
    model = session.manifest["model"]
    if arguments.json:
        json.dump({"model": model["name"], "current": session.manifest["current"], "thoughts": thoughts}, sys.stdout)
        return
    print(f"{session.manifest['application']}, {session.manifest['saved_at']}, model {model['name']}")
    for thought in thoughts:
        show(thought)


if __name__ == "__main__":
    main()
