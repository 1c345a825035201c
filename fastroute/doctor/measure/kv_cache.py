"""The size of a server's KV cache, from the labels of vllm:cache_config_info."""

import re

from fastroute.doctor.facts import KvCache

_LINE = re.compile(rb"^vllm:cache_config_info\{([^\n]*)\}[^}\n]*$", re.MULTILINE)
_LABEL = re.compile(rb'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_NUMBER = re.compile(rb"[0-9]{1,18}(?:\.[0-9]{1,6})?")


def kv_cache(text: bytes) -> KvCache | None:
    """Read the KV cache's size from the text of /metrics, summed over engines.

    vLLM 0.32 reports it in tokens; older versions report blocks and tokens per block. None if
    neither is reported, or only by some engines.
    """
    engines = [
        {name: _number(value) for name, value in _LABEL.findall(line)}
        for line in _LINE.findall(text)
    ]
    tokens = [_tokens(engine) for engine in engines]
    known = [each for each in tokens if each]
    if not known or len(known) < len(tokens):
        return None
    at_once = [engine.get(b"kv_cache_max_concurrency") for engine in engines]
    told = [each for each in at_once if each]
    return KvCache(sum(known), sum(told) if len(told) == len(engines) else None)


def _tokens(labels: dict[bytes, float | None]) -> int | None:
    tokens = labels.get(b"kv_cache_size_tokens")
    if tokens is not None:
        return round(tokens)
    blocks, block_size = labels.get(b"num_gpu_blocks"), labels.get(b"block_size")
    return round(blocks * block_size) if blocks and block_size else None


def _number(value: bytes) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None
