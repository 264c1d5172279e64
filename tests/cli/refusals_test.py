"""Bad input: a clear message on stderr, a non-zero exit, nothing on stdout."""
import os
import tempfile

from _savepoint import MODEL, refused, run

for command in ["generate", "logits", "score", "fit", "evaluate", "edit", "session", "bench"]:
    assert "--help" in run(command, "--help").out, command
assert "generate" in run("--help").out

refused("generate", "--prompt", "x", "--no-such-option", because="no-such-option", status=2)
refused("generate", because="--prompt", status=2)
refused("generate", "--prompt", "x", "--temperature", "-1", because="temperature", status=2)
refused("generate", "--prompt", "", because="empty")
refused("logits", "--prompt", "", because="empty")
refused("logits", "--prompt", b"caf\xe9".decode("utf-8", "surrogateescape"), because="UTF-8")
refused("generate", "--prompt", b"caf\xe9".decode("utf-8", "surrogateescape"), because="UTF-8")
refused("generate", "--prompt", "word " * 9000, "--max-tokens", "1", because="context")
refused("generate", "--prompt", "x", "--model", "/nowhere/model.gguf", because="/nowhere/model.gguf")
with tempfile.TemporaryDirectory() as folder:
    truncated = os.path.join(folder, "truncated.gguf")
    with open(MODEL, "rb") as whole, open(truncated, "wb") as part:
        part.write(whole.read(20_000_000))
    refused("logits", "--prompt", "x", "--model", truncated, because="truncated.gguf")
    text = os.path.join(folder, "text.gguf")
    open(text, "w").write("this is not a model")
    refused("logits", "--prompt", "x", "--model", text, because="text.gguf")
    refused("score", "--prompt", "x", "--data", folder, because="savepoint fit")
    refused("score", "--prompt", "x", "--phi", "cosine", because="cosine")
    refused("evaluate", "--sidecar", text, because="text.gguf")
    refused("fit", "--corpus", "/nowhere/corpus.txt", "--out", folder, because="/nowhere/corpus.txt")
