"""Makes the golden data of the text tests under tests/data/text: tokenizers and chat prompts.

`byte_level.json` and `sentencepiece.json` hold a small trained tokenizer in the fields of a GGUF file, with texts and
the ids that `tokenizers` and `sentencepiece` give them. `chat.json` holds chat templates, written for this test in the
manner of well-known models, with the prompts that transformers' own Jinja environment makes of them.

    python make_text.py [--out DIR]
"""

import argparse
import io
import json
import random
from datetime import datetime
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.utils import chat_template_utils

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

SENTENCES = [
    "The river carries the stones down to the sea, one winter after another.",
    "She counted the tiles: 12, 144, 1728 and then 20736 of them.",
    "A model that does not fit is read again and again, a piece at a time.",
    "Der Fluss trägt die Steine über viele Jahre ans Meer; wer hätte das gedacht?",
    "La rivière emporte les pierres jusqu'à la mer, un hiver après l'autre.",
    "El río lleva las piedras al mar, ¿quién lo habría pensado?",
    "川は石を海まで運ぶ。一つずつ、冬ごとに。",
    "Река несёт камни к морю, зима за зимой.",
    "for (let i = 0; i < tiles.length; i++) { sum += tiles[i].bytes; }",
    "It's what they'd said, and we've heard that you're sure I'll agree.",
]

TEXTS = SENTENCES + [
    "", " ", "  two  spaces  ", "\n\n\tline\r\n", "un\u00e9 e\u0301", "😀 and 👩‍👩‍👧", "日本", "\u00a0\u3000x",
    "<|start|>user<|end|>", "a<keep>b <keep> c", "<s>text</s>", "▁already", "x" * 50, "1234567890", "\x00\x01", "<0x41>",
]


def random_texts(count, seed):
    rng = random.Random(seed)
    alphabet = "aeinrst  .,'\n09ßéр川石😀<|>▁\u0301"
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 16))) for _ in range(count)]


def byte_level():
    pre = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.add_tokens([AddedToken("<keep>", normalized=False)])
    file = json.loads(tokenizer.to_str())
    tokens = [tokenizer.id_to_token(id) for id in range(tokenizer.get_vocab_size())]
    kinds = {**{token: CONTROL for token in specials}, "<keep>": USER_DEFINED}
    fields = {
        "model": "gpt2", "pre": "smollm", "tokens": tokens, "token_types": [kinds.get(token, NORMAL) for token in tokens],
        "merges": [" ".join(merge) for merge in file["model"]["merges"]], "bos": 0, "eos": 1,
    }
    texts = [text for text in TEXTS + random_texts(40, 1)]
    cases = [{"text": text, "ids": (ids := tokenizer.encode(text).ids), "decoded": tokenizer.decode(ids)} for text in texts]
    return {"fields": fields, "cases": cases}


def sentencepiece_bpe():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3), model_writer=model, vocab_size=480, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        user_defined_symbols=["<keep>"], minloglevel=2,
    )
    reference = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    def kind(id):
        tests = [(reference.is_unknown, UNKNOWN), (reference.is_control, CONTROL), (reference.is_byte, BYTE)]
        found = [kind for test, kind in tests if test(id)]
        return found[0] if found else USER_DEFINED if reference.id_to_piece(id) == "<keep>" else NORMAL

    ids = range(reference.vocab_size())
    fields = {
        "model": "llama", "pre": "default", "tokens": [reference.id_to_piece(id) for id in ids],
        "scores": [reference.get_score(id) for id in ids], "token_types": [kind(id) for id in ids],
        "bos": reference.bos_id(), "eos": reference.eos_id(), "unk": reference.unk_id(), "add_bos": True, "add_eos": False,
    }
    # Tokens in the text are looked for by Tilestream and not by the reference, and `▁` is a space to one only.
    plain = [text for text in TEXTS + random_texts(40, 2) if text and not any(c in text for c in "<▁")]
    cases = []
    for text in plain:
        ids = reference.encode(text)
        cases.append({"text": text, "ids": [reference.bos_id(), *ids], "decoded": reference.decode(ids)})
    return {"fields": fields, "cases": cases}


TEMPLATES = {
    # Line statements with trimmed blocks, and a default system text.
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You answer briefly.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}
""",
    # Headers, a date if the host knows one, filters, whitespace control.
    "llama3": """{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set date_string = "01 Jan 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    # Roles must alternate; a namespace; the system text goes into the last user turn.
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("Roles must take turns, the user first.") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("Unknown role: " + message["role"]) }}
    {%- endif %}
{%- endfor %}
""",
    # `model` for `assistant`; no system role; methods of Python strings.
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'].strip() }}
    {%- elif message['content'] is iterable -%}
        {{ raise_exception("no images") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
""",
    # Blocks on lines of their own, which trim_blocks and lstrip_blocks take away.
    "zephyr": """{% for message in messages %}
    {% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
    {% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
    {% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
    {% endif %}
    {% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
    {% endif %}
{% endfor %}
""",
    # A macro, loop controls, generation blocks, JSON, string methods, reversed and sliced lists.
    "everything": """{%- macro turn(role, content='', tail='\\n') %}<{{ role|upper }}>{{ content }}</{{ role|upper }}>{{ tail }}{% endmacro %}
{%- set ns = namespace(last_user=-1, seen=[]) %}
{%- for message in messages[::-1] %}
    {%- if message.role == "user" and not message.content.startswith('<') %}
        {%- set ns.last_user = messages|length - 1 - loop.index0 %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role in ['tool', 'function'] %}{% continue %}{% endif %}
    {%- set ns.seen = ns.seen + [message.role] %}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{ turn('assistant', message.content.split('</think>')[-1].lstrip('\\n')) }}{% endgeneration %}
    {%- else %}
        {{- turn(message.role, message.content | replace('&', 'and'), tail='|') }}
    {%- endif %}
    {%- if loop.previtem is defined and loop.previtem.role == message.role %}{{ '(again)' }}{% endif %}
{%- endfor %}
{{- {'last': ns.last_user, 'roles': ns.seen, 'q': "it's \\"é\\" <b>", 'none': none, 'f': 1.5, 't': true} | tojson }}
{{- messages | map(attribute='role') | join(',') }};{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{%- if tools is defined and tools %}tools{% endif %}{% set text = 'a-b' %};{{ text.replace('-', '+') ~ 1 ~ none ~ true }}
{{- messages[0] | tojson(indent=2) }}{{ 7 // 2 }}{{ 7 % 3 }}{{ '%s' }}{{ (messages[0].role * 2) ~ [1, 'a', none] }}
""",
}

USER = {"role": "user", "content": " What is a tile? "}
ANSWER = {"role": "assistant", "content": "<think>hm\n</think>\n\nA piece of a matrix & more.\n"}
AGAIN = {"role": "user", "content": "<b>Why?</b> 日本 'q' \"r\""}
SYSTEM = {"role": "system", "content": "Be kind. "}
CHATS = [[USER], [SYSTEM, USER], [USER, ANSWER, AGAIN], [SYSTEM, USER, ANSWER, AGAIN], [USER, USER], [SYSTEM], [SYSTEM, ANSWER]]


def chats():
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2025, 3, 9, 14, 5, 6)

    chat_template_utils.datetime = Clock
    cases = []
    for name, template in TEMPLATES.items():
        compiled = chat_template_utils._compile_jinja_template(template)
        for messages in CHATS:
            for add in (True, False):
                case = {"template": name, "messages": messages, "add_generation_prompt": add}
                try:
                    case["prompt"] = compiled.render(
                        messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=add
                    )
                except Exception as error:
                    case["error"] = str(error)
                cases.append(case)
    return {"date": "2025-03-09T14:05:06", "templates": TEMPLATES, "cases": cases}


def main():
    parser = argparse.ArgumentParser()
    default = Path(__file__).resolve().parents[2] / "tests/data/text"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, make in {"byte_level": byte_level, "sentencepiece": sentencepiece_bpe, "chat": chats}.items():
        path = out / f"{name}.json"
        path.write_text(json.dumps(make(), ensure_ascii=False, indent=0).replace("\n", " ").replace("}, {", "},\n{") + "\n")
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
