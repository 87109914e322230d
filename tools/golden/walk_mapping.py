"""Walks transformers' classes of causal language models: how many have a row of the table, and why the others have none.

What has a row stands in docs/models.md, which is made from the table. A class that has neither a row nor a reason is an error:
this version of transformers has it, and nobody has looked at it.

    python walk_mapping.py
"""

import re
import sys
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

PAGE = Path(__file__).resolve().parents[2] / "docs/models.md"

REASONS = {
    "an encoder with a head for text, or the decoder of a model of two halves": """
        Bart BertGenerationDecoder BertLMHeadModel BigBird BigBirdPegasus Blenderbot BlenderbotSmall Camembert Data2VecText
        Electra Ernie Git Marian MBart MegatronBert Moshi Musicgen MusicgenMelody Mvp Pegasus PLBart ProphetNet RemBert
        Roberta RobertaPreLayerNorm RoCBert RoFormer TrOCR Whisper XLMRoberta XLMRobertaXL Xmod ModernBertDecoder
        GotOcr2ForConditionalGeneration MossTranscribeDiarizeForConditionalGeneration""",
    "learned positions": "BioGpt CTRLLMHeadModel GPT2LMHeadModel GPTBigCode GPTNeo OpenAIGPTLMHeadModel OPT XGLM",
    "another kind of attention or of positions": "CpmAnt DiffLlama Doge Reformer XLMWithLMHeadModel XLNetLMHeadModel Persimmon",
    "Mamba": "Bamba FalconH1 FalconMamba Jamba Mamba Mamba2 NemotronH Zamba Zamba2 Zaya",
    "another recurrence": "BailingHybrid KimiLinear LaraMini MiniMax OlmoHybrid RecurrentGemma Rwkv xLSTM",
    "short convolutions": "Inkling Inkling2 Inkling2Loop Lfm2 Lfm2Moe Lfm3",
    "attention to positions that an indexer chooses": "AXK2 DeepseekV4 Dots3Note HYV4 MiniMaxM3VL Qwen4Exp",
    "layers in loops, or several in one": "Dory HrmText LongcatFlash Beam",
    "experts or a router of another kind": "AriaText AXK1 Dbrx Flint JetMoe Kolibri1 Phimoe",
    "norms, gates or factors of another kind": "Apertus1p5Text BitNet CodeGen GPTNeoXJapanese Laguna MiniCPM3",
    "tokens that are no text": "Blt Emu3 Fuyu",
    "a draft of another model, or a name of a part": "Gemma4Assistant Gemma4UnifiedAssistant Gemma4Unified CohereCompass",
}


def reasons():
    """The reason of each class."""
    for reason, names in REASONS.items():
        for name in names.split():
            yield name, reason
            yield f"{name}ForCausalLM", reason
            yield f"{name}ModelWithLMHead", reason


def main():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    classes = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()), key=str.lower)
    missing = [name for name in classes if name not in rows]
    known = dict(reasons())
    by_reason = {}
    for name in missing:
        by_reason.setdefault(known.get(name), []).append(name)
    unknown = by_reason.pop(None, [])
    print(f"{len(classes) - len(missing)} of {len(classes)} classes have a row")
    for reason, names in by_reason.items():
        print(f"{len(names):4} {reason}: {', '.join(names)}")
    if unknown:
        sys.exit(f"nobody has looked at {', '.join(unknown)}: write a row or a reason")


if __name__ == "__main__":
    main()
