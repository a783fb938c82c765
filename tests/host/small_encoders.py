"""Small text encoders of every family of the host, with random weights, through the host's own classes and CLIP.

Only widths and depths are small. Tokenizers that the host brings are its own; those that it takes from a checkpoint
(sentencepiece of UMT5, mT5 and Gemma, Mistral's tekken, GPT-OSS) are trained here, small ones of the same kind.
"""

from __future__ import annotations

import base64
import functools
import importlib
import importlib.util
import inspect
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import comfy.ops
import comfy.sd
import comfy.supported_models_base
import torch
from prompt_fidelity.host.models.random_models import random_weights

SENTENCES = [
    line.removeprefix("Sentence:").strip()
    for line in (Path(__file__).parents[1] / "data/prompts/gpt.txt").read_text(encoding="utf-8").splitlines()
    if line.startswith("Sentence:")
]
CORPUS = [*SENTENCES[::2], "a red car and a blue dog", "a red car and a blue cat"] * 4

WIDE = {"num_attention_heads": 2, "num_key_value_heads": 1}
LLM = {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 32, **WIDE}
T5 = {"d_model": 32, "d_ff": 32, "d_kv": 32, "num_heads": 1, "num_layers": 1}
CLIP = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 32}
BERT = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2}


def _sentencepiece(**special: int) -> torch.Tensor:
    """A small sentencepiece model of the corpus, as the host keeps it: bytes in a tensor."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=written, vocab_size=900, hard_vocab_limit=False,
        minloglevel=2, num_threads=1, **special,
    )  # fmt: skip
    return torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8)


@functools.cache
def spiece_of_t5() -> torch.Tensor:
    return _sentencepiece(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


@functools.cache
def spiece_of_gemma() -> torch.Tensor:
    return _sentencepiece(pad_id=0, eos_id=1, bos_id=2, unk_id=3, byte_fallback=True, add_dummy_prefix=False)


def _byte_level(special: list[str]):
    """A small byte-level BPE, as GPT-2's, trained on the corpus."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@functools.cache
def gpt_oss_json() -> torch.Tensor:
    marks = ["<|end|>", "<|start|>", "<|message|>", "<|channel|>", "<|endoftext|>"]
    return torch.frombuffer(bytearray(_byte_level(marks).to_str().encode()), dtype=torch.uint8)


@functools.cache
def tekken() -> torch.Tensor:
    """Mistral's file: byte strings with their ranks, special tokens first."""
    marks = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *(f"<SPECIAL_{i}>" for i in range(5, 11)), "<pad>"]
    marks += ["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    vocabulary = _byte_level([]).get_vocab()
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in printable]
    byte_of = {**{chr(b): b for b in printable}, **{chr(0x100 + i): b for i, b in enumerate(hidden)}}
    words = sorted((rank, bytes(byte_of[c] for c in piece)) for piece, rank in vocabulary.items())
    data = {
        "config": {"default_vocab_size": len(words) + len(marks)},
        "vocab": [{"rank": rank, "token_bytes": base64.b64encode(word).decode()} for rank, word in words],
        "special_tokens": [{"rank": rank, "token_str": mark} for rank, mark in enumerate(marks)],
    }
    return torch.frombuffer(bytearray(json.dumps(data).encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class Family:
    """A family's tokenizer and encoder in `comfy.text_encoders.<module>`, made small."""

    module: str
    tokenizer: str
    encoder: Callable  # of the module
    sizes: dict[str, dict]  # by the host's name for an encoder
    data: Callable[[], dict] = dict  # what the tokenizer takes from a checkpoint
    options: dict = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return importlib.util.find_spec(f"comfy.text_encoders.{self.module}") is not None


def _te(module):
    return module.te()


class _PlainOps(comfy.ops.manual_cast):
    """The host's layers for weights that are not quantised, with its layer of experts."""

    MoEExperts = getattr(comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=True), "MoEExperts", None)


FAMILIES = {
    "sd3": Family("sd3_clip", "SD3Tokenizer", lambda m: m.sd3_clip(),
                  {"clip_l": CLIP, "clip_g": CLIP, "t5xxl": {**T5, "d_model": 4096, "d_ff": 16}}),
    "aura": Family("aura_t5", "AuraT5Tokenizer", lambda m: m.AuraT5Model, {"pile_t5xl": T5}),
    "flux": Family("flux", "FluxTokenizer", lambda m: m.flux_clip(), {"clip_l": CLIP, "t5xxl": T5}),
    "chroma, pixart": Family("pixart_t5", "PixArtTokenizer", lambda m: m.pixart_te(), {"t5xxl": T5}),
    "flux2": Family("flux", "Flux2Tokenizer", lambda m: m.flux2_te(),
                    {"mistral3_24b": {**LLM, "num_hidden_layers": 31}}, lambda: {"tekken_model": tekken()}),
    "klein": Family("flux", "KleinTokenizer", lambda m: m.klein_te(), {"qwen3_4b": {**LLM, "num_hidden_layers": 28}}),
    "hunyuan_dit": Family("hydit", "HyditTokenizer", lambda m: m.HyditModel, {"hydit_clip": BERT, "mt5xl": T5},
                          lambda: {"mt5xl.spiece_model": spiece_of_t5()}),
    "wan": Family("wan", "WanT5Tokenizer", _te, {"umt5xxl": T5}, lambda: {"spiece_model": spiece_of_t5()}),
    "lumina2": Family("lumina2", "LuminaTokenizer", _te, {"gemma2_2b": LLM},
                      lambda: {"spiece_model": spiece_of_gemma()}),
    "pixeldit": Family("pixeldit", "PixelDiTGemma2Tokenizer", lambda m: m.pixeldit_te(), {"gemma2_2b": LLM},
                       lambda: {"spiece_model": spiece_of_gemma()}),
    "z_image": Family("z_image", "ZImageTokenizer", _te, {"qwen3_4b": LLM}),
    "qwen_image": Family("qwen_image", "QwenImageTokenizer", _te, {"qwen25_7b": LLM}),
    "hunyuan_image": Family("hunyuan_image", "HunyuanImageTokenizer", lambda m: m.te(byt5=False),
                            {"qwen25_7b": {**LLM, "num_hidden_layers": 4}}),
    "kandinsky5": Family("kandinsky5", "Kandinsky5TokenizerImage", _te, {"qwen25_7b": LLM, "clip_l": CLIP}),
    "longcat": Family("longcat_image", "LongCatImageTokenizer", _te, {"qwen25_7b": LLM}),
    "omnigen2": Family("omnigen2", "Omnigen2Tokenizer", _te, {"qwen25_3b": LLM}),
    "ovis": Family("ovis", "OvisTokenizer", _te, {"qwen3_2b": LLM}),
    "hidream": Family("hidream", "HiDreamTokenizer", lambda m: m.hidream_clip(),
                      {"clip_l": CLIP, "clip_g": CLIP, "t5xxl": T5, "llama": LLM}),
    "cosmos": Family("cosmos", "CosmosT5Tokenizer", _te, {"t5xxl": T5}),
    "anima": Family("anima", "AnimaTokenizer", _te, {"qwen3_06b": LLM}),
    "ernie": Family("ernie", "ErnieTokenizer", _te, {"ministral3_3b": LLM}, lambda: {"tekken_model": tekken()}),
    "lens": Family("gpt_oss", "LensTokenizer", lambda m: m.lens_te(), {}, lambda: {"tokenizer_json": gpt_oss_json()},
                   {"gpt_oss_config": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                                       "head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1,
                                       "vocab_size": 2000, **WIDE},
                    "selected_layers": (0, 1), "custom_operations": _PlainOps}),
    "krea2": Family("krea2", "Krea2Tokenizer", _te, {"qwen3vl_4b": {**LLM, "num_hidden_layers": 36}}),
    "ideogram4": Family("ideogram4", "Ideogram4Tokenizer", _te, {"qwen3vl_8b": {**LLM, "num_hidden_layers": 36}}),
    "mage_flow": Family("mage_flow", "MageFlowTokenizer", _te, {"qwen3vl_4b": LLM}),
    "joyimage": Family("joyimage", "JoyImageTokenizer", _te, {"qwen3vl_8b": LLM}),
    "boogu": Family("boogu", "BooguTokenizer", _te, {"qwen3vl_8b": LLM}),
}  # fmt: skip
HERE = [name for name, family in FAMILIES.items() if family.exists]
# What ComfyUI 0.18.2 and 0.16.3 don't have yet.
NEWER = {"pixeldit", "ernie", "lens", "krea2", "ideogram4", "mage_flow", "joyimage", "boogu"}


def _expert_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of GPT-OSS's experts, which are no parameters before they are loaded."""
    shapes = {name: module._orig_shape for name, module in model.named_modules() if hasattr(module, "_orig_shape")}
    return {f"{name}.weight": 0.1 * torch.randn(shape) for name, shape in shapes.items()}


class _NoEyes(torch.nn.Module):
    """In place of the part of a vision-language model that sees: hundreds of millions of weights, unused here."""

    def __init__(self, *args, **kwargs):
        super().__init__()


def _blind() -> list[tuple[object, str, object]]:
    from comfy.text_encoders import qwen_vl

    found = [(qwen_vl, "Qwen2VLVisionTransformer")]
    if importlib.util.find_spec("comfy.text_encoders.qwen3vl"):
        found.append((importlib.import_module("comfy.text_encoders.qwen3vl"), "Qwen3VLVisionModel"))
    return [(module, name, getattr(module, name)) for module, name in found]


def _older_converter():
    """Newer releases of transformers read Mistral's file themselves; the host hands over the vocabulary."""
    from transformers.integrations import mistral

    if "additional_special_tokens" in inspect.signature(mistral.MistralConverter.__init__).parameters:
        return []

    class Converter(mistral.MistralConverter):
        def __init__(self, vocab, additional_special_tokens):
            words = {word: rank for word, rank in vocab.items() if isinstance(word, bytes)}
            self._precomputed_vocab, self._precomputed_merges = self._extract_merges(words)
            first = len(additional_special_tokens)
            self._precomputed_vocab = {word: rank + first for word, rank in self._precomputed_vocab.items()}
            self._precomputed_vocab |= {mark: rank for rank, mark in enumerate(additional_special_tokens)}
            self.pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            self.add_prefix_space = False
            self.additional_special_tokens = list(additional_special_tokens)

    return [(mistral, "MistralConverter", mistral.MistralConverter, Converter)]


def _older_llama():
    """Newer releases of transformers cut Llama's text without its spaces; the file says how to."""
    import transformers
    from comfy.text_encoders import hunyuan_video

    if int(transformers.__version__.split(".")[0]) < 5:
        return []
    return [
        (hunyuan_video, "LlamaTokenizerFast", hunyuan_video.LlamaTokenizerFast, transformers.PreTrainedTokenizerFast)
    ]


@functools.cache
def small_clip(name: str, seed: int = 0) -> comfy.sd.CLIP:
    """The CLIP of a family."""
    family = FAMILIES[name]
    swaps = [(module, attribute, own, _NoEyes) for module, attribute, own in _blind()]
    swaps += _older_converter() + _older_llama()
    for module, attribute, _, instead in swaps:
        setattr(module, attribute, instead)
    try:
        module = importlib.import_module(f"comfy.text_encoders.{family.module}")
        target = comfy.supported_models_base.ClipTarget(getattr(module, family.tokenizer), family.encoder(module))
        options = {f"{encoder}_model_config": dict(sizes) for encoder, sizes in family.sizes.items()}
        with torch.inference_mode():
            clip = comfy.sd.CLIP(
                target,
                tokenizer_data=family.data(),
                model_options={**options, **family.options, "dtype": torch.float32},
                disable_dynamic=True,
            )
            weights = random_weights(clip.cond_stage_model, seed, prefers=False) | _expert_weights(
                clip.cond_stage_model
            )
            clip.cond_stage_model.load_state_dict(weights, strict=False)
    finally:
        for module, attribute, own, _ in swaps:
            setattr(module, attribute, own)
    return clip


def without_attention(clip: comfy.sd.CLIP) -> comfy.sd.CLIP:
    """The encoder with attention that adds nothing: each row of its features is made from its own token alone."""
    outputs = ("out_proj", "o_proj", "SelfAttention.o", "attention.output.dense")
    with torch.inference_mode():
        for path, module in clip.cond_stage_model.named_modules():
            if path.endswith(outputs):
                for parameter in module.parameters():
                    parameter.zero_()
    return clip
