"""Writes the weights of a GGUF file as a Hugging Face folder in bf16, for sides that read nothing else.

    python bf16_folder.py MODEL.gguf FOLDER

In several files, because AirLLM asks for an index. Needs what tools/bench/requirements.txt lists.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import PreTrainedTokenizerFast

sys.path[0] = str(Path(__file__).resolve().parents[1] / "golden")
from llama_gguf import File


def main(gguf, folder):
    source = File(gguf)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=source.tokenizer(), bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = source.meta["tokenizer.chat_template"]
    model = source.model().to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as unfinished:
        whole = Path(unfinished) / folder.name
        tokenizer.save_pretrained(whole)
        model.save_pretrained(whole, max_shard_size="100MB")
        whole.rename(folder)


main(Path(sys.argv[1]), Path(sys.argv[2]))
