#!/usr/bin/env python3
"""gemma.json and gemma.safetensors: what Hugging Face transformers computes for Gemma 3 270M in float32.

usage: make_gemma.py gemma-3-270m-q4_k_m.gguf
transformers dequantises the GGUF file itself (norm weights minus one, as its modules add one). Eager attention, no
cache: every step of the greedy continuation is a whole forward pass. The ids are those of Google's sentencepiece, given
the file's vocabulary (transformers would make a Unigram model of it, and the vocabulary is one of merges), with <bos>
before them.

gemma.json: for each prompt its ids, the 20 largest logits at positions "top20_at", the greedy continuation with the
top-1 minus top-2 logit of each step, and for the long one, which crosses the sliding window, its mean log-probability.
gemma.safetensors: NAME.logits [positions, vocab / LOGIT_STRIDE], every LOGIT_STRIDE-th logit at the positions of
top20_at; NAME.resid [1 + layers, positions, d_model], the scaled embedding and resid_post of the layers listed;
NAME.k (after the norm of keys, before rotary embedding) and NAME.v [layers, positions, kv_heads, head_dim].

made with torch==2.11.0 transformers==4.57.1 gguf==0.19.0 sentencepiece==0.2.3 accelerate protobuf
"""
import hashlib
import json
import os
import sys

import gguf as gguf_package
import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoModelForCausalLM

LOGIT_STRIDE = 64
LAYERS = [0, 1, 5, 9, 11, 17]  # 5, 11 and 17 attend to everything, the others to a window
GREEDY = 32



def sentencepiece_of(path):
    fields = gguf_package.GGUFReader(path).fields
    tokens, scores, kinds = (fields["tokenizer.ggml." + key].contents() for key in ("tokens", "scores", "token_type"))
    proto = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(tokens, scores, kinds):
        user_defined = kind == 4  # these alone have spaces as spaces in a GGUF file
        proto.pieces.add(piece=token.replace(" ", "\u2581") if user_defined else token, score=score, type=kind)
    proto.pieces[3].type = 2  # <unk>
    proto.trainer_spec.model_type = 2  # merges
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.unk_id, proto.trainer_spec.bos_id = 3, 2
    proto.trainer_spec.eos_id, proto.trainer_spec.pad_id = 1, 0
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


here = os.path.dirname(os.path.abspath(__file__))
gguf = os.path.abspath(sys.argv[1])
folder, name = os.path.split(gguf)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager")
model.eval()
tokenizer = sentencepiece_of(gguf)

# The text of 1,000 tokens of the other model's fixture; its beginning is long enough to cross the window of 512.
with open(os.path.join(here, "reference.json")) as file:
    long_text = json.load(file)["prompts"][-1]["prompt"]
prompts = [
    {"name": "france", "prompt": "The capital of France is"},
    {"name": "unicode", "prompt": "naïve café — 日本語 🙂 Привет мир"},
    {"name": "numbers", "prompt": "In 2023, 12345 people paid $6,789.00 for"},
    {"name": "code", "prompt": "def add(a, b):\n    return a + b\n\n\ndef multiply(a, b):\n\treturn"},
    {"name": "long", "prompt": long_text[:3000], "positions": [99, 510, 511, 512, 513, -1]},
]

seen = {}


def first(output):
    return (output[0] if isinstance(output, tuple) else output).detach()


def keep(key):
    return lambda module, args, output: seen.__setitem__(key, first(output)[0])


for i, block in enumerate(model.model.layers):
    block.self_attn.k_norm.register_forward_hook(keep(("k", i)))
    block.self_attn.v_proj.register_forward_hook(keep(("v", i)))
    block.register_forward_hook(keep(("h", i)))
model.model.layers[0].register_forward_pre_hook(lambda module, args: seen.__setitem__("e", args[0][0].detach()))


@torch.inference_mode()
def forward(ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


tensors = {}
for prompt in prompts:
    ids = prompt["ids"] = [2] + tokenizer.encode(prompt["prompt"])
    logits = forward(ids)
    at = [p % len(ids) for p in prompt.pop("positions", range(len(ids)))]
    shown = at if prompt["name"] == "long" else [len(ids) - 1]
    prompt["positions"] = at
    prompt["top20_at"] = {p: [[i, v] for v, i in zip(*(t.tolist() for t in logits[p].topk(20)))] for p in shown}
    if prompt["name"] in ("france", "long"):
        n = prompt["name"]
        prompt["layers"] = LAYERS
        tensors[n + ".logits"] = logits[shown][:, ::LOGIT_STRIDE].contiguous()
        tensors[n + ".resid"] = torch.stack([seen["e"][at]] + [seen[("h", i)][at] for i in LAYERS]).contiguous()
        # [kv_heads, tokens, head_dim] where the module norms, [tokens, kv_dim] where it projects
        k = [seen[("k", i)].transpose(0, 1)[at] for i in LAYERS]
        tensors[n + ".k"] = torch.stack(k).contiguous()
        v = [seen[("v", i)][at].unflatten(-1, (-1, model.config.head_dim)) for i in LAYERS]
        tensors[n + ".v"] = torch.stack(v).contiguous()
    if prompt["name"] == "long":
        log_p = logits.log_softmax(-1)
        prompt["mean_logprob"] = log_p[:-1].gather(1, torch.tensor(ids[1:])[:, None]).mean().item()
    greedy, gaps = list(ids), []
    for _ in range(GREEDY if prompt["name"] != "long" else 8):
        top = forward(greedy)[-1].topk(2)
        gaps.append(round((top.values[0] - top.values[1]).item(), 4))
        greedy.append(top.indices[0].item())
    prompt.update(greedy=greedy[len(ids):], greedy_gap=gaps)
    print(prompt["name"], len(ids), repr(tokenizer.decode(prompt["greedy"])), file=sys.stderr)

with open(gguf, "rb") as file:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
result = {
    "model": name, "sha256": sha256, "torch": torch.__version__, "transformers": transformers.__version__,
    "logit_stride": LOGIT_STRIDE, "prompts": prompts,
}
with open(os.path.join(here, "gemma.json"), "w") as file:
    json.dump(result, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
save_file(tensors, os.path.join(here, "gemma.safetensors"))
