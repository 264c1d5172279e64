"""`savepoint effects`: a small sidecar is fitted and each of its components moved; table, JSON and CSV agree."""
import csv
import tempfile

from _savepoint import refused, run, run_json

with tempfile.TemporaryDirectory() as folder:
    run("fit", "--out", folder, "--tokens", "1024", "--calibration-tokens", "512", "--length", "64", "--own-samples", "0",
        "--form", "separate", "--group-size", "5", "--hidden-components", "8", "--key-components", "4", "--value-components", "4")
    few = ["--sidecar", f"{folder}/sidecar.safetensors", "--tokens", "1", "--control-tokens", "8", "--sequences", "2"]
    table = f"{folder}/effects.csv"
    slots = run_json("effects", *few, "--csv", table)["slots"]
    assert len(slots) == 6 + 2 * 30, len(slots)
    assert [len(slot["effect_kl"]) for slot in slots] == 6 * [8] + 60 * [4]
    for slot in slots:
        assert slot["control_kl_p95"] > 0 and slot["control_within"] in (0, 1), slot
        assert slot["above"] == sum(effect > slot["control_kl_p95"] for effect in slot["effect_kl"]), slot
    assert max(slots[0]["effect_kl"]) > 2 * min(slots[0]["effect_kl"]) > 0, slots[0]

    rows = list(csv.DictReader(open(table, encoding="utf-8")))
    assert len(rows) == 6 * 8 + 60 * 4
    assert rows[8]["part"] == "hidden" and rows[8]["group"] == "1" and rows[8]["component"] == "0", rows[8]
    assert abs(float(rows[8]["effect_kl"]) / slots[1]["effect_kl"][0] - 1) < 1e-4

    printed = run("effects", *few).out
    assert printed.startswith("| layer group | part | components |") and "| blocks 25-29 | value | 20 |" in printed, printed
    assert f"{sum(slot['above'] for slot in slots)} of 288 components" in printed, printed
    refused("effects", *few, "--corpus", "/nowhere", because="/nowhere")

# One z for hidden states, keys and values: one slot a group.
with tempfile.TemporaryDirectory() as folder:
    run("fit", "--out", folder, "--tokens", "1024", "--calibration-tokens", "512", "--length", "64", "--own-samples", "0",
        "--form", "joint", "--group-size", "2", "--max-components", "12", "--gradient-sequences", "0")
    few = ["--sidecar", f"{folder}/sidecar.safetensors", "--tokens", "1", "--control-tokens", "8", "--sequences", "2"]
    slots = run_json("effects", *few)["slots"]
    assert [slot["part"] for slot in slots] == 15 * ["joint"], slots
    assert [len(slot["effect_kl"]) for slot in slots] == 15 * [12]
    assert all(slot["control_kl_p95"] > 0 and max(slot["effect_kl"]) > 0 for slot in slots), slots
