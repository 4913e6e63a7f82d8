#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the same tiny model on the same data in a plain PyTorch loop and with `fathom train`, and
compares the two loss curves step by step.

    python3 bench/parity/parity.py [--fathom build/tools/fathom/fathom] [--steps 200] [--optimizer AdamW]

fp32 has to agree within 1e-4 of the loss at every step; bf16 (fp32 master weights, bf16 compute
weights and activations) within 1 %. Prints one line a precision and one JSON document; exit 1 when a
bound is passed, 77 with the reason when python has no torch. Needs no tokenizer and no network.
"""
import argparse
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    print(f"skipped: python cannot import torch ({missing})", file=sys.stderr)
    sys.exit(77)

HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, VOCABULARY, LENGTH = 64, 2, 4, 2, 160, 256, 64
MICRO, ACCUMULATION = 4, 2
LR, DECAY, CLIP, WARMUP = 2e-3, 0.1, 1.0, 20
EPS, THETA = 1e-5, 10000.0
OPTIMIZERS = {
    "AdamW": ({"lr": LR, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": DECAY},
              lambda groups: torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8)),
    "SGD": ({"lr": 20 * LR, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
            lambda groups: torch.optim.SGD(groups, lr=20 * LR, momentum=0.9, nesterov=True)),
    "Adagrad": ({"lr": 2 * LR, "eps": 1e-10, "weight_decay": 1e-3},
                lambda groups: torch.optim.Adagrad(groups, lr=2 * LR, eps=1e-10)),
}


def shapes():
    head = HIDDEN // HEADS
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (HIDDEN,)
        yield layer + "self_attn.q_proj.weight", (HEADS * head, HIDDEN)
        yield layer + "self_attn.k_proj.weight", (KV_HEADS * head, HIDDEN)
        yield layer + "self_attn.v_proj.weight", (KV_HEADS * head, HIDDEN)
        yield layer + "self_attn.o_proj.weight", (HIDDEN, HEADS * head)
        yield layer + "post_attention_layernorm.weight", (HIDDEN,)
        yield layer + "mlp.gate_proj.weight", (FFN, HIDDEN)
        yield layer + "mlp.up_proj.weight", (FFN, HIDDEN)
        yield layer + "mlp.down_proj.weight", (HIDDEN, FFN)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def initial_weights():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.ones(shape) if len(shape) == 1 else
            torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes()}


def write_model(directory, weights):
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FFN,
        "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "rms_norm_eps": EPS,
        "rope_theta": THETA, "hidden_act": "silu", "tie_word_embeddings": False,
        "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}))
    header, data = {}, b""
    for name, tensor in weights.items():
        raw = struct.pack(f"<{tensor.numel()}f", *tensor.flatten().tolist())
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def tokens(count):
    """A chain in which a token depends on the two before it, with some chance: learnable, not trivial."""
    generator = torch.Generator().manual_seed(2)
    chance = torch.rand(count, generator=generator).tolist()
    other = torch.randint(0, VOCABULARY, (count,), generator=generator).tolist()
    ids = [1, 2]
    while len(ids) < count:
        i = len(ids)
        ids.append((3 * ids[-1] + 5 * ids[-2] + 7) % VOCABULARY if chance[i] < 0.8 else other[i])
    return ids


def rms_norm(x, weight):
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def logits_of(weights, ids):
    batch, length = ids.shape
    head = HIDDEN // HEADS
    frequency = THETA ** (-torch.arange(0, head, 2).float() / head)
    angle = torch.outer(torch.arange(length).float(), frequency)
    angle = torch.cat((angle, angle), -1)
    x = F.embedding(ids, weights["model.embed_tokens.weight"])
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    for i in range(LAYERS):
        w = lambda name, layer=f"model.layers.{i}.": weights[layer + name + ".weight"]
        y = rms_norm(x, w("input_layernorm"))
        q = F.linear(y, w("self_attn.q_proj")).view(batch, length, HEADS, head).transpose(1, 2)
        k = F.linear(y, w("self_attn.k_proj")).view(batch, length, KV_HEADS, head).transpose(1, 2)
        v = F.linear(y, w("self_attn.v_proj")).view(batch, length, KV_HEADS, head).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(batch, length, -1), w("self_attn.o_proj"))
        y = rms_norm(x, w("post_attention_layernorm"))
        y = F.silu(F.linear(y, w("mlp.gate_proj"))) * F.linear(y, w("mlp.up_proj"))
        x = x + F.linear(y, w("mlp.down_proj"))
    return F.linear(rms_norm(x, weights["model.norm.weight"]), weights["lm_head.weight"]).float()


def torch_curve(weights, ids, steps, optimizer, bf16):
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    values, make = OPTIMIZERS[optimizer]
    decay = [p for p in parameters.values() if p.dim() > 1]
    plain = [p for p in parameters.values() if p.dim() == 1]
    rule = make([{"params": decay, "weight_decay": values["weight_decay"]},
                 {"params": plain, "weight_decay": 0.0}])
    window, losses = 0, []
    for step in range(steps):
        # WarmupLR, linear: the first two updates have the minimum, here 0.
        share = min(1.0, max(0, step - 1) / WARMUP)
        for group in rule.param_groups:
            group["lr"] = values["lr"] * share
        rule.zero_grad()
        total = 0.0
        for _ in range(ACCUMULATION):
            rows = torch.tensor([ids[(window + r) * (LENGTH + 1):(window + r + 1) * (LENGTH + 1)]
                                 for r in range(MICRO)])
            window += MICRO
            used = {n: p.bfloat16() for n, p in parameters.items()} if bf16 else parameters
            out = logits_of(used, rows[:, :-1])
            loss = F.cross_entropy(out.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))
            (loss / ACCUMULATION).backward()
            total += loss.item() / ACCUMULATION
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        rule.step()
        losses.append(total)
    return losses


def fathom_curve(program, model, data, work, steps, optimizer, bf16):
    config = {"train_micro_batch_size_per_gpu": MICRO, "gradient_accumulation_steps": ACCUMULATION,
              "gradient_clipping": CLIP, "bf16": {"enabled": bf16},
              "optimizer": {"type": optimizer, "params": OPTIMIZERS[optimizer][0]},
              "scheduler": {"type": "WarmupLR", "params": {
                  "warmup_min_lr": 0, "warmup_max_lr": OPTIMIZERS[optimizer][0]["lr"],
                  "warmup_num_steps": WARMUP, "warmup_type": "linear"}},
              "zero_optimization": {"stage": 3}}
    (work / "ds_config.json").write_text(json.dumps(config))
    metrics = work / "metrics.jsonl"
    command = [program, "train", "--model", model, "--data", data, "--config", work / "ds_config.json",
               "--out", work / "out", "--steps", steps, "--seq-len", LENGTH, "--metrics", metrics]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"fathom train failed:\n{done.stderr}")
    return [json.loads(line)["loss"] for line in metrics.read_text().splitlines()]


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--fathom", default="build/tools/fathom/fathom")
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--optimizer", choices=OPTIMIZERS, default="AdamW")
    asked = options.parse_args()
    torch.set_num_threads(1)  # tensors this small only lose by more
    document, failed = {"optimizer": asked.optimizer, "steps": asked.steps}, False
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        weights = initial_weights()
        write_model(root / "model", weights)
        ids = tokens(asked.steps * MICRO * ACCUMULATION * (LENGTH + 1))
        (root / "data.bin").write_bytes(struct.pack(f"<{len(ids)}H", *ids))
        for bf16 in (False, True):
            name = "bf16" if bf16 else "fp32"
            work = root / name
            work.mkdir()
            ours = fathom_curve(asked.fathom, root / "model", root / "data.bin", work, asked.steps,
                                asked.optimizer, bf16)
            theirs = torch_curve(weights, ids, asked.steps, asked.optimizer, bf16)
            apart = [abs(a - b) / (b if bf16 else 1) for a, b in zip(ours, theirs, strict=True)]
            bound = 1e-2 if bf16 else 1e-4
            worst = max(range(len(apart)), key=apart.__getitem__)
            good = math.isfinite(apart[worst]) and apart[worst] <= bound
            failed |= not good
            print(f"{name}: loss {theirs[0]:.4f} -> {theirs[-1]:.4f} (torch), {ours[-1]:.4f} (fathom); "
                  f"largest difference {apart[worst]:.2e}{' of the loss' if bf16 else ''} at step "
                  f"{worst + 1}, bound {bound:g}: {'ok' if good else 'too far'}")
            document[name] = {"largest_difference": apart[worst], "bound": bound, "step": worst + 1,
                              "first": theirs[0], "last_torch": theirs[-1], "last_fathom": ours[-1]}
    print(json.dumps(document))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
