"""Makes tests/data/tokenizers: tokenizers without `tokenizer.json`, and the ids of the libraries they were made for.

`*.model` are small SentencePiece models, trained here; `small.tiktoken`, `tekken.json` and `vocab.json` with `merges.txt` hold
one small byte-level BPE in three forms. `golden.json` has the texts, and for each case its files, its configs and the ids:
those of `sentencepiece` and `tiktoken`, and of transformers where the class is its own.

    python make_tokenizers.py [--out DIR]
"""

import argparse
import base64
import contextlib
import io
import json
import random
import tempfile
import unicodedata
from pathlib import Path

import re
import sentencepiece
import tiktoken
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = [
    "The river carries the stones down to the sea, one winter after another.",
    "She counted the tiles: 12, 144, 1728 and then 20736 of them. It's what they'd said.",
    "Der Fluss trägt die Steine über viele Jahre ans Meer; wer hätte das gedacht?",
    "La rivière emporte les pierres jusqu'à la mer, où l'été les réchauffe.",
    "El río lleva las piedras al mar, ¿quién lo habría pensado mañana?",
    "Река несёт камни к морю, зима за зимой, и никто их не считает.",
    "Το ποτάμι φέρνει τις πέτρες στη θάλασσα, χειμώνα με τον χειμώνα.",
    "يحمل النهر الحجارة إلى البحر شتاءً بعد شتاء.",
    "הנהר נושא את האבנים אל הים, חורף אחר חורף.",
    "नदी पत्थरों को समुद्र तक ले जाती है, सर्दी दर सर्दी।",
    "แม่น้ำพัดพาก้อนหินลงสู่ทะเลทุกฤดูหนาว",
    "河流把石头带到海里，一个冬天接着一个冬天。",
    "川は石を海まで運ぶ。一つずつ、冬ごとに。カタカナも。",
    "강은 돌을 바다로 나른다. 겨울마다 하나씩.",
    "for (let i = 0; i < tiles.length; i++) {\n\tsum += tiles[i].bytes; // 0xFF\n}",
    "def f(x):\n    return x ** 2\n\n\nprint(f(10))\r\n",
    "😀 a smile, 👍 a thumb, 🌊 the sea",
]

TEXTS = CORPUS + [
    "", " ", "  ", "   leading", "trailing   ", "two  spaces   three", "\n", "\n\n\n", "\t\ttabs", "a\r\nb\r\n\r\n", "\u00a0\u3000\u2003x",
    "a\x00b\x01\x1b[0m\x7f", "1234567890", "3.14159e-10", "١٢٣ १२३ ๑๒๓ Ⅻ ½ ²", "don't WE'LL I'm you'Re", "CamelCase snake_case kebab-case",
    "e\u0301 n\u0303 a\u0308\u0304", "é ñ ǟ", "\u1100\u1161\u11a8 한국", "ﬁ ﬂ Ａｂｃ１２３ ㎏ ㈱ ™", "Z\u0351\u036b\u0343a\u0321l\u0325g\u0322o",
    "👩\u200d👩\u200d👧\u200d👦 👍🏽 🇩🇪 ❤\ufe0f", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠀀𪜶", "مرحباً بِكُمْ", "שָׁלוֹם", "नमस्ते दुनिया", "สวัสดี", "你好，世界！今天天气很好。",
    "日本語とEnglishを混ぜる", "안녕하세요 세계", "ΑΒΓ αβγ ς", "Ёлка ёж", "İstanbul ı ẞ ß", "x" * 40, "aaa aaaa aaaaa", "=" * 17, "a▁b ▁c",
    "<0x41> <0xE2>", "soprano", "a<keep>b <keep> <sep>c", "https://example.org/?a=1&b=%20#x", "$x^2 + \\frac{1}{2}$", "\ufeffbom \u200b \u200e",
    "<s>text</s> more", "<|user|>\n hello<|assistant|>\n", "[gMASK]sop<|user|>\n hi", "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|> x",
    "[gMASK]<sop><|user|>\nhi", "<start_of_turn>user\n\nhi   there<end_of_turn>\n", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "[INST] hi [/INST]",
]

# A map of characters as small as the tests need: several characters to one, one to several, to nothing, and to a space.
RULES = [
    ("e\u0301", "é"), ("n\u0303", "ñ"), ("a\u0308", "ä"), ("a\u0308\u0304", "ǟ"), ("ä\u0304", "ǟ"), ("\u1100\u1161", "가"), ("\u1100\u1161\u11a8", "각"),
    ("ﬁ", "fi"), ("ﬂ", "fl"), ("Ａ", "A"), ("ｂ", "b"), ("ｃ", "c"), ("１", "1"), ("２", "2"), ("３", "3"), ("㎏", "kg"), ("㈱", "(株)"), ("™", "TM"),
    ("½", "1\u20442"), ("²", "2"), ("\u00a0", " "), ("\u3000", " "), ("\u2003", " "), ("\t", " "), ("\n", " "), ("\r", " "), ("\x01", ""), ("\x7f", ""),
    ("\u200b", " "), ("\ufeff", " "), ("\u200e", ""),
]

CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATGLM = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
GLM4 = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
        "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>",
          "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]


def random_texts(count):
    rng = random.Random(7)
    alphabet = ["a", "e", "n", "t", "h", " ", " ", "  ", ".", ",", "'", "\n", "\t", "0", "9", "ß", "é", "р", "е", "川", "石", "강", "😀", "\u0301", "ن", "ि"]
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 24))) for _ in range(count)]


def train(out, name, **options):
    model = io.BytesIO()
    settings = dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", character_coverage=0.995,
                    remove_extra_whitespaces=False, minloglevel=2, num_threads=1)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in CORPUS * 3 for line in text.split("\n") if line]), model_writer=model, **(settings | options)
    )
    (out / name).write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def write_rules():
    """In the current folder: a model keeps the path."""
    points = lambda text: " ".join(f"{ord(c):X}" for c in text)
    Path("rules.tsv").write_text("".join(f"{points(old)}\t{points(new)}\n" for old, new in RULES))


def sections(text, specials, encode):
    """Special tokens by their ids; what stands between them is encoded by itself."""
    ids = []
    pattern = "|".join(re.escape(token) for token in sorted(specials, key=len, reverse=True))
    for part in re.split(f"({pattern})", text) if specials else [text]:
        if part in specials:
            ids.append(specials[part])
        elif part:
            ids += encode(part)
    return ids


def sentencepiece_case(texts, name, file, sp, config, extra=None, before=None, known=None):
    specials = {sp.id_to_piece(i): i for i in range(sp.vocab_size()) if sp.is_control(i) or sp.is_unknown(i)} | (extra or {})
    before = [sp.bos_id()] if before is None else before
    ids = [sections(text, specials, sp.encode) for text in texts]
    decodes = lambda text, ids: sp.unk_id() not in ids and not any(token in text for token in specials)
    decoded = [sp.decode(i) if decodes(t, i) and all(n < sp.vocab_size() for n in i) else None for t, i in zip(texts, ids)]
    return case(name, {"tokenizer.model": file}, config, texts, ids, decoded, before)


def case(name, files, config, texts, ids, decoded=None, before=(), model_type="llama", more=None):
    # A text that comes back as it is needs no second copy.
    decoded = decoded or [None] * len(texts)
    back = {str(i): d if d != t else True for i, (t, d) in enumerate(zip(texts, decoded)) if d is not None}
    return {"name": name, "files": files, "json": {"config.json": {"model_type": model_type}, "tokenizer_config.json": config, **(more or {})},
            "before": list(before), "ids": ids, "decoded": back}


def listed(tokens):
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {str(id): {"content": token, **flags} for token, id in tokens.items()}


def sentencepiece_cases(out, texts):
    symbols = ["<keep>", "<sep>"]
    llama = train(out, "llama.model", vocab_size=760, user_defined_symbols=symbols)
    plain = train(out, "plain.model", vocab_size=640)
    gemma = train(out, "gemma.model", vocab_size=680, add_dummy_prefix=False, control_symbols=["<start_of_turn>", "<end_of_turn>"],
                  user_defined_symbols=["▁▁", "▁▁▁", "▁▁▁▁", "\n", "\n\n", "\n\n\n", "\t", "<keep>"], bos_piece="<bos>", eos_piece="<eos>",
                  allow_whitespace_only_pieces=True)
    rules = "rules.tsv"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_rules()
        mapped = train(out, "mapped.model", vocab_size=640, normalization_rule_name="", normalization_rule_tsv=rules, remove_extra_whitespaces=True)
        unigram = train(out, "unigram.model", vocab_size=420, model_type="unigram", hard_vocab_limit=False, byte_fallback=False, normalization_rule_name="",
                        normalization_rule_tsv=rules, remove_extra_whitespaces=True)
    fallback = train(out, "unigram-bytes.model", vocab_size=640, model_type="unigram", hard_vocab_limit=False, character_coverage=0.985,
                     required_chars=">")
    chat = {token: plain.vocab_size() + i for i, token in enumerate(CHATGLM)}
    before = [chat["[gMASK]"], chat["sop"]]
    return [
        sentencepiece_case(texts, "llama", "llama.model", llama, {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"}),
        sentencepiece_case(texts, "baichuan", "plain.model", plain, {"tokenizer_class": "BaichuanTokenizer", "add_bos_token": False}, before=[]),
        sentencepiece_case(texts, "gemma", "gemma.model", gemma, {"tokenizer_class": "GemmaTokenizer"}),
        sentencepiece_case(texts, "mapped", "mapped.model", mapped, {"tokenizer_class": "InternLMTokenizer"}),
        sentencepiece_case(texts, "unigram", "unigram.model", unigram, {}),
        sentencepiece_case(texts, "unigram-bytes", "unigram-bytes.model", fallback, {}),
        sentencepiece_case(texts, "chatglm3", "plain.model", plain, {"tokenizer_class": "ChatGLMTokenizer", "added_tokens_decoder": listed(chat)}, chat, before),
        sentencepiece_case(texts, "chatglm2", "plain.model", plain, {"tokenizer_class": "ChatGLMTokenizer"}, None, before),
        legacy_case(out, texts),
    ]


def legacy_case(out, texts):
    """`legacy: false` is a matter of transformers, and so are the ids."""
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes((out / "plain.model").read_bytes())
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return case("legacy-false", {"tokenizer.model": "plain.model"}, config, texts, ids, None, [1])


def byte_level(out):
    """One vocabulary in three forms: a small BPE whose ids are its ranks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=640, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    byte_of = {c: b for b, c in transformers.convert_slow_tokenizer.bytes_to_unicode().items()}
    ranks = {bytes(byte_of[c] for c in token): id for token, id in model["vocab"].items()}
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in sorted(ranks.items(), key=lambda item: item[1])]
    (out / "small.tiktoken").write_text("".join(lines))
    (out / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    (out / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(merge) + "\n" for merge in model["merges"]))
    return ranks


def tiktoken_case(texts, name, ranks, pattern, specials, config, before=(), nfc=False, model_type="llama", file="qwen.tiktoken"):
    table = {token: len(ranks) + i for i, token in enumerate(specials)}
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=table)
    prepared = [unicodedata.normalize("NFC", text) if nfc else text for text in texts]
    ids = [encoding.encode(text, allowed_special="all") for text in prepared]
    decoded = [encoding.decode(i) if all(n < len(ranks) for n in i) else None for i in ids]
    return case(name, {file: "small.tiktoken"}, config, texts, ids, decoded, [table[token] for token in before], model_type)


def tekken_case(out, texts, ranks):
    count, vocab = 30, [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for token, rank in sorted(ranks.items(), key=lambda i: i[1])]
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    config = {"pattern": TEKKEN, "num_vocab_tokens": len(ranks), "default_vocab_size": 600 + count, "default_num_special_tokens": count, "version": "v7"}
    specials = [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(names)]
    (out / "tekken.json").write_text(json.dumps({"config": config, "vocab": vocab, "special_tokens": specials}))
    encoding = tiktoken.Encoding("tekken", pat_str=TEKKEN, mergeable_ranks={t: r for t, r in ranks.items() if r < 600}, special_tokens={})
    encode = lambda text: [id + count for id in encoding.encode(text, disallowed_special=())]
    ids = [sections(text, {name: i for i, name in enumerate(names)}, encode) for text in texts]
    return case("tekken", {"tekken.json": "tekken.json"}, {}, texts, ids, None, [1], "mistral")


def merges_case(out, texts, name, tokenizer_class, config, model_type, more=None):
    with tempfile.TemporaryDirectory() as folder:
        for file in ["vocab.json", "merges.txt"]:
            (Path(folder) / file).write_bytes((out / file).read_bytes())
        for file, content in {"tokenizer_config.json": config, "config.json": {"model_type": model_type}, **(more or {})}.items():
            (Path(folder) / file).write_text(json.dumps(content))
        tokenizer = tokenizer_class.from_pretrained(folder)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return case(name, {file: file for file in ["vocab.json", "merges.txt"]}, config, texts, ids, None, [], model_type, more)


def starcoder_case(out, texts, config):
    """Starcoder 2 publishes a tokenizer.json that cuts digits, for a class that does not."""
    tokenizer = Tokenizer(models.BPE.from_file(str(out / "vocab.json"), str(out / "merges.txt")))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.add_special_tokens(["<|endoftext|>"])
    ids = [tokenizer.encode(text).ids for text in texts]
    return case("starcoder2", {file: file for file in ["vocab.json", "merges.txt"]}, config, texts, ids, None, [], "starcoder2")


def byte_level_cases(out, texts):
    ranks = byte_level(out)
    n = len(ranks)
    kimi = {"[BOS]": n, "[EOS]": n + 1, "<|im_end|>": n + 2, "<|im_user|>": n + 3}
    reserved = [f"<|reserved_token_{i}|>" for i in range(n + 4, n + 258)]
    reserved3 = [f"<|reserved_special_token_{i}|>" for i in range(2, 256 - len(LLAMA3) + 2)]
    qwen = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    chatml = {"<|endoftext|>": n, "<|im_start|>": n + 1, "<|im_end|>": n + 2}
    gpt2 = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "added_tokens_decoder": listed({"<|endoftext|>": n})}
    qwen2 = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "added_tokens_decoder": listed(chatml)}
    codegen = {"tokenizer_class": "CodeGenTokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return [
        tiktoken_case(texts, "qwen", ranks, QWEN, qwen, {"tokenizer_class": "QWenTokenizer"}, (), True, "qwen"),
        tiktoken_case(texts, "glm4", ranks, CL100K, GLM4, {"tokenizer_class": "ChatGLM4Tokenizer"}, ["[gMASK]", "<sop>"], file="tokenizer.model"),
        tiktoken_case(texts, "kimi", ranks, KIMI, list(kimi) + reserved, {"tokenizer_class": "TikTokenTokenizer", "added_tokens_decoder": listed(kimi)},
                      file="tiktoken.model"),
        tiktoken_case(texts, "llama3", ranks, CL100K, LLAMA3 + reserved3, {}, ["<|begin_of_text|>"], file="tokenizer.model"),
        tekken_case(out, texts, ranks),
        merges_case(out, texts, "gpt2", transformers.GPT2Tokenizer, {"tokenizer_class": "GPT2Tokenizer", **gpt2}, "gpt_bigcode"),
        merges_case(out, texts, "qwen2", transformers.Qwen2Tokenizer, qwen2, "qwen2"),
        merges_case(out, texts, "phi", transformers.CodeGenTokenizer, codegen, "phi",
                    {"added_tokens.json": {"<|endoftext|>": n, "  ": n + 1, "   ": n + 2, "\t\t": n + 3}}),
        starcoder_case(out, texts, {"tokenizer_class": "GPT2Tokenizer", **gpt2}),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "tests/data/tokenizers")
    out = parser.parse_args().out
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    texts = TEXTS + random_texts(12)
    cases = sentencepiece_cases(out, texts) + byte_level_cases(out, texts)
    # A text in one line each, so that a change shows.
    one = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lines = lambda values: "[\n" + ",\n".join(map(one, values)) + "\n]"
    golden = '{"texts":' + lines(texts) + ',"cases":' + lines(cases) + "}\n"
    (out / "golden.json").write_text(golden)


if __name__ == "__main__":
    main()
