"""A tiny random Llama that real vLLM can serve, written to a folder (runs in vLLM's environment).

Usage: python tiny_model.py FOLDER

The answers are noise with three useful properties:

* One token is one character: the tokenizer is the plain byte alphabet without merges, so the
  length of a prompt or an answer in tokens can be read off the text.
* It never stops by itself: the rows of the output matrix that belong to control tokens and to
  bytes outside printable ASCII are zero, and among the other 95 logits, which have a standard
  deviation of about 8, one is always far above zero. Only a grammar (JSON, tools) that allows
  nothing else, a stop string or `max_tokens` ends an answer.
* It is slow enough: the many layers cost about 10 ms a token on one core, so that a stream has
  events which a test can tell apart in time.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LAYERS = 32
CONTEXT_TOKENS = 8192
END = "<|eot|>"
CONTROL_TOKENS = [END, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] or '' }}<|eot|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and the control tokens the chat template uses."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*CONTROL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(CONTROL_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights from a fixed seed, with the output matrix arranged as said above."""
    torch.manual_seed(20)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT_TOKENS,
        # A wide spread keeps successive hidden states apart: with the library's 0.02 the
        # model says one character for ever.
        initializer_range=0.12,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # The final norm leaves a vector of length sqrt(128); standard normal rows make
        # logits with a standard deviation of about 11.
        model.lm_head.weight.normal_(std=0.7)
        for token in range(len(tokenizer)):
            text = tokenizer.decode([token])
            if token < len(CONTROL_TOKENS) or not (text.isascii() and text.isprintable()):
                model.lm_head.weight[token] = 0.0
    return model.to(torch.bfloat16)


def main() -> None:
    """Write the model, its tokenizer and its configuration."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    build_model(tokenizer).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))


if __name__ == "__main__":
    main()
