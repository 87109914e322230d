"""Makes the golden data of Gemma 3 270M (Q4_K_M) under tests/data/gemma3, from its GGUF file.

* What the reference finds most likely after each of 200 tokens of a text that is given to it, in f32 on the weights
  dequantized from the file, and by how much.
* Token ids of awkward texts. The file is the only source of the tokenizer; SentencePiece itself reads the vocabulary.

    python make_gemma3.py MODEL.gguf [--out DIR]
"""

import argparse
import json
import struct
from pathlib import Path

import gguf
import sentencepiece
import torch
from transformers import AutoModelForCausalLM

TOKENS = 200
UNKNOWN, USER_DEFINED = 2, 4

# Without control tokens, which SentencePiece never finds in a text, and without its sign for a space.
TEXTS = [
    "The capital of France is Paris.",
    " leading and  double   spaces ",
    "tabs\tand\n\nnew\n\n\n\nlines \n x",
    "naïve café, Straße, œuvre, Ångström, e\u0301 decomposed",
    "Größenwahn heißt: 1.234,56 € zu 99,9 %",
    "¿Dónde está la biblioteca? ¡Aquí!",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "Ο γρήγορος αλεπού πηδά πάνω από τον σκύλο.",
    "השועל החום המהיר קופץ מעל הכלב.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول ١٢٣",
    "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है",
    "我能吞下玻璃而不伤身体。這是繁體字。",
    "いろはにほへと、東京タワー3丁目",
    "안녕하세요 세계, 한국어 문장입니다.",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 and 🦀",
    "fn main() { println!(\"{:>8}\", 3.5e-7); } // ok",
    "    if x:\n        return [i**2 for i in range(10)]\n",
    "<b>bold</b>",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u200b zero\u200dwidth \ufeff bom ﬁ ligature",
    "12345678901234567890 0x7fff 1e10",
    "ꙮ ᚠᛇᚻ 𐍈 ⿰ \U0001f9ff",
    "",
    "a",
    " ",
]  # fmt: skip


def message(*fields):
    """A protocol buffer of (number, value): whole numbers, floats, texts and messages."""
    out = bytearray()

    def varint(value):
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)

    for number, value in fields:
        if isinstance(value, float):
            varint(number << 3 | 5)
            out += struct.pack("<f", value)
        elif isinstance(value, int):
            varint(number << 3)
            varint(int(value))
        else:
            value = value.encode() if isinstance(value, str) else value
            varint(number << 3 | 2)
            varint(len(value))
            out += value
    return bytes(out)


def tokenizer(fields):
    """SentencePiece over the vocabulary of the file (the numbers are those of sentencepiece_model.proto)."""
    tokens, scores, kinds = (fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type"))
    unknown, bos, eos, pad = (fields[f"tokenizer.ggml.{name}_token_id"] for name in ("unknown", "bos", "eos", "padding"))
    pieces = []
    for index, (token, score, kind) in enumerate(zip(tokens, scores, kinds)):
        # The converter wrote spaces where the vocabulary has its own sign.
        token = token.replace(" ", "▁") if kind == USER_DEFINED else token
        pieces.append((1, message((1, token), (2, float(score)), (3, UNKNOWN if index == unknown else kind))))
    bpe, byte_fallback = (3, 2), (35, 1)
    trainer = message(bpe, (4, len(tokens)), byte_fallback, (40, unknown), (41, bos), (42, eos), (43, pad))
    no_extra, escape = (4, 0), (5, 1)
    normalizer = message((1, "identity"), (3, fields["tokenizer.ggml.add_space_prefix"]), no_extra, escape)
    return sentencepiece.SentencePieceProcessor(model_proto=message(*pieces, (2, trainer), (3, normalizer)))


def most_likely(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    best = logits.topk(2, dim=-1)
    losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="mean")
    margins = [round(float(first - second), 5) for first, second in best.values]
    return {"ids": ids, "best": best.indices[:, 0].tolist(), "margins": margins, "nll": float(losses)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(__file__).resolve().parents[2] / "tests/data"
    parser.add_argument("model", type=Path, help="gemma-3-270m-q4_k_m.gguf")
    parser.add_argument("--out", type=Path, default=data / "gemma3", help="where golden.json goes")
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.model)
    fields = {field.name: field.contents() for field in reader.fields.values()}
    pieces = tokenizer(fields)

    text = (data / "smollm2/text.txt").read_text()
    ids = [fields["tokenizer.ggml.bos_token_id"], *pieces.encode(text)][:TOKENS]
    assert len(ids) == TOKENS
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model.parent, gguf_file=arguments.model.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    golden = {"score": most_likely(model, ids), "texts": []}
    golden["texts"] = [{"text": text, "ids": pieces.encode(text)} for text in TEXTS]
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = [f'"score": {json.dumps(golden["score"])}', '"texts": [\n']
    lines[1] += ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in golden["texts"]) + "\n]"
    (arguments.out / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
