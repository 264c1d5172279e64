"""`savepoint evaluate --codecs`: what is fitted is judged on other text, and a saved codec is judged the same again."""
import glob
import os
import tempfile

from _savepoint import refused, run, run_json

SMALL = ["--tokens", "512", "--prefix", "96", "--followers", "32", "--parts", "kv", "--group-size", "2"]
FIELDS = ["name", "bytes_per_token", "ratio_fp16", "kl_nats", "top1_agreement", "delta_nll", "hidden_fvu", "k_fvu",
          "v_fvu", "mid_layer_mse", "restore_tokens_per_s", "encode_tokens_per_s", "sidecar_bytes"]

with tempfile.TemporaryDirectory() as folder:
    table = run_json("evaluate", "--codecs", *SMALL, "--ratios", "8,24", "--fit-tokens", "2560", "--no-baselines",
                     "--save", folder)
    small, tiny = table["codecs"]
    assert all(field in small for field in FIELDS), small
    assert table["replay_tokens_per_s"] > 0 and table["held_out_sequences"] == 4, table
    assert small["hidden_fvu"] is None and small["mid_layer_mse"] is None  # it stores keys and values alone
    # Tables and step are fitted on other text, and on runs of 192 tokens: of 96, more are near the end, where steps are
    # finer. So the bytes come near what was asked, and no nearer.
    assert 6 < small["ratio_fp16"] < 9 and 17 < tiny["ratio_fp16"] < 27, table
    assert 0 < small["kl_nats"] < tiny["kl_nats"] < 1, table
    assert small["k_fvu"] < tiny["k_fvu"] < 1 and small["v_fvu"] < tiny["v_fvu"] < 1, table

    files = sorted(glob.glob(f"{folder}/*8x.safetensors"))
    assert len(files) == 1 and abs(os.path.getsize(files[0]) - small["sidecar_bytes"]) < 8192, files
    again = run_json("evaluate", "--codec", files[0], *SMALL)["codecs"]
    assert len(again) == 1 and again[0]["name"] == small["name"]
    assert again[0]["bytes_per_token"] == small["bytes_per_token"], (again[0], small)
    assert abs(again[0]["kl_nats"] - small["kl_nats"]) < 1e-6, (again[0], small)

    # A text as its latent: what is coded is in one file, and the model goes on from it as from the exact state.
    z = f"{folder}/tide.safetensors"
    text = "The keeper of the lighthouse wrote down the wind, the tide and every ship that passed. " * 3
    saved = run_json("latent", "save", "--text", text, "--codec", files[0], "--out", z)
    assert saved["file_bytes"] == os.path.getsize(z) < saved["fp16_bytes"] / 3, saved
    back = run_json("latent", "resume", z, "--codec", files[0], "--max-tokens", "8", "--compare")
    assert back["tokens"] == saved["tokens"] and len(back["ids"]) == 8 and back["agreement"] >= 4, back
    assert back["exact_text"][:4] == back["text"][:4], back
    refused("latent", "resume", z, "--codec", sorted(glob.glob(f"{folder}/*24x.safetensors"))[0], because="another codec")
    refused("latent", "resume", files[0], "--codec", files[0], because="not a latent")

    data = bytearray(open(files[0], "rb").read())
    data[len(data) // 2] ^= 1
    open(files[0], "wb").write(data)
    refused("evaluate", "--codec", files[0], *SMALL, because="digest")

markdown = run("evaluate", "--codecs", "--tokens", "256", "--prefix", "96", "--followers", "32", "--parts", "hidden",
               "--group-size", "1", "--ratios", "8", "--fit-tokens", "2048", "--no-baselines").out
assert markdown.startswith("| codec | bytes/token |") and "| transform hidden 8x |" in markdown, markdown
