#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_tokenizers.py: regenerates tests/data/tokenizers with the `tokenizers` library (pip install tokenizers).

make_tokenizers.py write DIR     trains small tokenizers of each kind on this repository's texts and writes
                                 NAME.json and, for stored cases, NAME.cases.jsonl ({"text", "ids", "special", "decoded"})
make_tokenizers.py cases DIR N   prints N varied cases for each NAME.json in DIR, as JSON Lines with "tokenizer";
                                 what the test asks for when the library is installed
"""
import base64
import glob
import json
import os
import random
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
POSSESSIVE = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
              r"|\s*[\r\n]|\s+(?!\S)|\s+")
NESTED = r" ?[^(\s|[.,!?…。，、।۔،])]+"

# One line in many scripts, own words; enough for merges beyond ASCII.
SCRIPTS = """Das Schiff fährt über den großen Fluß; l'été où naît l'œuvre; señor, mañana, corazón.
Корабль идёт по реке, а вода поднимается. Το πλοίο περνά τον ποταμό. הספינה עוברת את הנהר.
السفينة تعبر النهر ثم تعود. नाव नदी पार करती है और लौटती है। เรือข้ามแม่น้ำแล้วกลับมา
船は川を渡って、また戻ってくる。船只过河，然后回来。배는 강을 건너고 돌아온다. Thuyền đi qua sông rồi trở về.
12 345,67 € — ½ ② Ⅷ ٣٤ “quoted” ‘single’ … 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 é å ﬁ ﬂ Å Ω ｆｕｌｌ ㍿ ①
""".splitlines()


def corpus():
    lines = list(SCRIPTS) * 20
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "src/base/*.hpp"):
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            lines += open(path, encoding="utf-8").read().splitlines(keepends=True)
    return lines


def charsmap(rules):
    """A SentencePiece normalisation table: a double array over the rules' keys, then their texts."""
    texts, offsets = b"", {}
    for key, value in rules.items():
        offsets[key.encode()] = len(texts)
        texts += value.encode() + b"\0"
    units = {0: 0}
    used = {0}

    def place(node, keys, depth):
        children = sorted({key[depth] if depth < len(key) else 0 for key in keys})
        base = 0
        while True:
            base += 1
            spots = [base ^ child for child in children]
            # The offset is relative to the node and must fit the unit's short form.
            if all(spot not in used and spot > 0 for spot in spots) and (node ^ base) < 1 << 21:
                break
        units[node] |= (node ^ base) << 10
        used.update(spots)
        for child in children:
            if child == 0:
                key = next(key for key in keys if len(key) == depth)
                units[base] = offsets[key] | 1 << 31
                units[node] |= 1 << 8
            else:
                units[base ^ child] = child
        for child in children:
            if child != 0:
                place(base ^ child, [key for key in keys if len(key) > depth and key[depth] == child], depth + 1)

    place(0, list(offsets), 0)
    array = [units.get(i, 0) for i in range((max(units) | 0xFF) + 1)]
    blob = struct.pack("<I", 4 * len(array)) + struct.pack(f"<{len(array)}I", *array) + texts
    return base64.b64encode(blob).decode()


CHARSMAP = charsmap({"ﬁ": "fi", "ﬂ": "fl", "½": "1/2", "①": "1", "\u00a0": " ", "\t": " ", "\u3000": " ", "\x01": "",
                     "e\u0301": "é", "ｆ": "f", "ｕ": "u", "ｌ": "l", "Å": "Å", "Ω": "Ω", "㍿": "株式会社",
                     "\r\n": " ", "\n": " ", "a": "a"})


def byte_level(pre, vocab=700, special=("<|endoftext|>",), normalizer=None, post=None, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    if post:
        tokenizer.post_processor = post(tokenizer)
    return tokenizer


def split(pattern, behavior="isolated"):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(single, *names):
    return lambda tokenizer: processors.TemplateProcessing(
        single=single, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names])


def sentencepiece_bpe(pre=None, vocab=700):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=vocab, special_tokens=special,
                                                                limit_alphabet=150, show_progress=False))
    state = json.loads(tokenizer.to_str())
    # Byte pieces are pieces of the model, not added tokens.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < 3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if pre is None:  # Llama 2
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.pre_tokenizer = None
    else:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = template("<s> $A", "<s>")(tokenizer)
    return tokenizer


def unigram(byte_fallback=False, vocab=400):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(base64.b64decode(CHARSMAP)),
                                                 normalizers.Strip(left=False, right=True),
                                                 normalizers.Replace(Regex(" {2,}"), "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=vocab, special_tokens=special, unk_token="<unk>", show_progress=False))
    state = json.loads(tokenizer.to_str())
    if byte_fallback:
        state["model"]["byte_fallback"] = True
        state["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    # Scores as short as they print: the file stays small and means the same everywhere.
    state["model"]["vocab"] = [[piece, round(score, 6)] for piece, score in state["model"]["vocab"]]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if byte_fallback:
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.add_special_tokens(["<extra_id_0>", "<extra_id_1>"])
    tokenizer.post_processor = template("$A </s>", "</s>")(tokenizer)
    return tokenizer


def added(tokenizer):
    tokenizer.add_tokens([AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
                          AddedToken("<both>", lstrip=True, rstrip=True, special=True), AddedToken("word", single_word=True),
                          AddedToken("Über", normalized=True), AddedToken("ab", normalized=False), AddedToken("abc", normalized=False),
                          AddedToken("  ", normalized=False)])
    return tokenizer


def plain_bpe(pre, normalizer, **options):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **options))
    tokenizer.pre_tokenizer = pre
    tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], limit_alphabet=120,
                                                                show_progress=False))
    return tokenizer


def wordlevel():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(corpus(), trainers.WordLevelTrainer(vocab_size=400, special_tokens=["[UNK]", "[CLS]", "[SEP]"],
                                                                      show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


P, N = pre_tokenizers, normalizers
KINDS = {
    "gpt2": lambda: byte_level(P.ByteLevel(add_prefix_space=False), post=lambda _: processors.ByteLevel(trim_offsets=False)),
    "opt": lambda: byte_level(P.ByteLevel(add_prefix_space=True), special=("<pad>", "</s>"), vocab=500, post=template("</s> $A", "</s>")),
    "llama3": lambda: byte_level(split(LLAMA3), special=("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), ignore_merges=True,
                                 post=lambda t: processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                                                     template("<|begin_of_text|> $A", "<|begin_of_text|>")(t)])),
    "qwen2": lambda: byte_level(split(QWEN2), special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), normalizer=N.NFC(),
                                post=lambda _: processors.ByteLevel(trim_offsets=False)),
    "possessive": lambda: byte_level(split(POSSESSIVE), vocab=400),
    "nested": lambda: byte_level(split(NESTED), vocab=400, normalizer=N.NFKC()),
    "digits": lambda: byte_level(P.Sequence([P.Digits(individual_digits=True), P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False)]), vocab=400),
    "llama2": lambda: sentencepiece_bpe(),
    "mistral": lambda: sentencepiece_bpe(P.Metaspace(prepend_scheme="first", split=False)),
    "metaspace": lambda: sentencepiece_bpe(P.Metaspace(prepend_scheme="never", split=True), vocab=450),
    "t5": lambda: unigram(),
    "unigram_bytes": lambda: unigram(byte_fallback=True),
    "added": lambda: added(byte_level(P.ByteLevel(add_prefix_space=False), vocab=400, normalizer=N.Lowercase())),
    "whitespace": lambda: plain_bpe(P.Whitespace(), N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase(), N.Strip()]), fuse_unk=True),
    "nmt": lambda: plain_bpe(P.Sequence([P.WhitespaceSplit(), P.Split("e", "merged_with_previous"), P.Split(Regex("[aou]"), "merged_with_next"),
                                         P.Split(Regex(r"\d"), "removed", invert=False)]), N.Sequence([N.Nmt(), N.NFD(), N.Replace(Regex(r"\bthe\b"), "THE")])),
    "wordlevel": wordlevel,
}


def random_text(rng, lines):
    """One of many ways to be awkward."""
    kind = rng.randrange(12)
    any_character = lambda: chr(rng.choice([rng.randrange(0x20, 0x7F), rng.randrange(0xA0, 0x250), rng.randrange(0x370, 0x600),
                                            rng.randrange(0x900, 0xE00), rng.randrange(0x2000, 0x2100), rng.randrange(0x3040, 0x3100),
                                            rng.randrange(0x4E00, 0x9FFF), rng.randrange(0xAC00, 0xD7A3), rng.randrange(0x1F300, 0x1F650)]))
    if kind <= 2:
        line = rng.choice(lines)
        begin = rng.randrange(len(line) + 1)
        return line[begin:begin + rng.randrange(1, 80)]
    if kind == 3:
        return "".join(any_character() for _ in range(rng.randrange(1, 30)))
    if kind == 4:
        return "".join(chr(rng.randrange(0, 0x100)) for _ in range(rng.randrange(1, 30)))
    if kind == 5:
        return rng.choice(" \n\t\r\u00a0\u3000a.1é▁=") * rng.randrange(1, 300)
    if kind == 6:
        return "".join(rng.choice([" ", "  ", "\n", "\r\n", "\t", "\u2028", "\u200b", "\u00ad", "\ufeff", "x", "1", ".", "'s", "'RE", "’t"]) for _ in range(rng.randrange(1, 25)))
    if kind == 7:
        return "".join(rng.choice("aeoucnAEu ") + "".join(chr(rng.randrange(0x300, 0x345)) for _ in range(rng.randrange(3))) for _ in range(rng.randrange(1, 15)))
    if kind == 8:
        return "".join(rng.choice(["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "\u200d", "\ufe0f", "ﬁ", "①", "½", "㍿", "ｆｕｌｌ", " ", "e\u0301", "İ", "ß", "ŉ"]) for _ in range(rng.randrange(1, 12)))
    if kind == 9:
        marks = ["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|begin_of_text|>", "<extra_id_0>", "<left>", "<right>",
                 "<both>", "word", "Über", "ÜBER", "ab", "abc", "  ", " ", "\n", "x", "<0x41>", "▁", "[CLS]", "Ġ", "[UNK]"]
        return "".join(rng.choice(marks) for _ in range(rng.randrange(1, 12)))
    if kind == 10:  # what a lossy reader makes of broken UTF-8
        return bytes(rng.choice([rng.randrange(256), 0xF0, 0x9F, 0x98, 0xE2, 0x82, 0x61, 0x20]) for _ in range(rng.randrange(1, 30))).decode("utf-8", "replace")
    return " ".join("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABC019_-'") for _ in range(rng.randrange(1, 12))) for _ in range(rng.randrange(1, 20)))


def case(tokenizer, text):
    special = tokenizer.encode(text).ids
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "special": special,
            "decoded": [tokenizer.decode(special, skip_special_tokens=skip) for skip in (False, True)]}


def main():
    command, folder = sys.argv[1:3]
    lines = corpus()
    if command == "write":
        os.makedirs(folder, exist_ok=True)
        for name, make in KINDS.items():
            tokenizer = make()
            state = json.loads(tokenizer.to_str())
            merges = state["model"].get("merges")
            if name in ("gpt2", "llama2") and merges:  # the older spelling
                state["model"]["merges"] = [" ".join(pair) for pair in merges]
            with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
                json.dump(state, file, ensure_ascii=False, separators=(",", ":"))
                file.write("\n")
            tokenizer = Tokenizer.from_str(json.dumps(state))
            rng = random.Random(name)
            with open(os.path.join(folder, name + ".cases.jsonl"), "w", encoding="utf-8") as file:
                for text in ["", " ", *SCRIPTS] + [random_text(rng, lines) for _ in range(60)]:
                    file.write(json.dumps(case(tokenizer, text), separators=(",", ":")) + "\n")
        return
    count = int(sys.argv[3])
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        name = os.path.basename(path).removesuffix(".json")
        tokenizer = Tokenizer.from_file(path)
        rng = random.Random(f"{name} {count}")
        for _ in range(count):
            print(json.dumps({"tokenizer": name} | case(tokenizer, random_text(rng, lines)), separators=(",", ":")))


if __name__ == "__main__":
    main()
