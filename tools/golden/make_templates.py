"""Renders templates with transformers' own Jinja environment, for the tests of src/text/chat.

`constructs.json` holds one case for each construct of constructs.py: what it renders, or that it is refused. With
`--published`, a folder of `.jinja` files is rendered too, and the cases are written to a file of their own:
`TILESTREAM_TEMPLATES=FILE cargo test --lib published_templates` compares them. Published templates belong to their
makers, so they are not kept here.

    python make_templates.py [--out DIR] [--published FOLDER --cases FILE]
"""

import argparse
import json
from datetime import datetime
from pathlib import Path

from constructs import constructs
from transformers.utils import chat_template_utils

SYSTEM = {"role": "system", "content": "Be kind. "}
USER = {"role": "user", "content": " What is a tile?\nTell me. "}
ANSWER = {"role": "assistant", "content": "<think>hm\n</think>\n\nA piece of a matrix & more.\n"}
AGAIN = {"role": "user", "content": "<b>Why?</b> 日本 'q' \"r\""}
CHATS = [[USER], [SYSTEM, USER], [USER, ANSWER, AGAIN], [SYSTEM, USER, ANSWER, AGAIN]]

VARIABLES = {
    "m": [USER, ANSWER, AGAIN], "d": {"k": "v", "b": [1, 2], "a": {"x": None}}, "n": [1, 2, 3],
    "messages": [USER, ANSWER, AGAIN], "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
    "tools": None, "documents": None,
}


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 3, 9, 14, 5, 6)


def rendered(template, variables):
    try:
        text = chat_template_utils._compile_jinja_template(template).render(**variables)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"prompt": text}


def parts(message):
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def published(folder):
    cases, templates = [], {}
    for path in sorted(folder.rglob("*.jinja")):
        name, text = path.stem, path.read_text(encoding="utf-8")
        templates[name] = text
        for messages in CHATS:
            for add in (True, False):
                for shape in ("text", "parts"):
                    given = [parts(message) for message in messages] if shape == "parts" else messages
                    variables = {**VARIABLES, "messages": given, "add_generation_prompt": add}
                    for extra in ("m", "d", "n"):
                        del variables[extra]
                    case = {"template": name, "messages": messages, "shape": shape, "add_generation_prompt": add}
                    cases.append(case | rendered(text, variables))
    return {"templates": templates}, cases


def write(path, head, cases):
    dumped = [json.dumps(case, ensure_ascii=False) for case in cases]
    text = json.dumps(head, ensure_ascii=False)[:-1] + ', "cases": [\n' + ",\n".join(dumped) + "\n]}\n"
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser()
    default = Path(__file__).resolve().parents[2] / "tests/data/text"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--cases", type=Path, default=Path("published.json"))
    args = parser.parse_args()
    chat_template_utils.datetime = Clock
    if args.published:
        write(args.cases, *published(args.published))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    cases = [{"template": template} | rendered(template, VARIABLES) for template in constructs()]
    write(args.out / "constructs.json", {"variables": VARIABLES}, cases)


if __name__ == "__main__":
    main()
