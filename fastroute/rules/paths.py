"""The paths of vLLM that generate or compute something for a client and change nothing else."""

from typing import Final

INFERENCE_PATHS: Final = frozenset(
    (
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/responses",
        b"/v1/messages",
        b"/v1/embeddings",
        b"/v1/rerank",
        b"/v2/rerank",
        b"/rerank",
        b"/v1/score",
        b"/score",
        b"/classify",
        b"/pooling",
        b"/tokenize",
        b"/detokenize",
        b"/invocations",
    )
)
INFERENCE_FOLDERS: Final = (b"/v1/audio/", b"/v1/images/", b"/inference/")
"""All paths below these are inference paths, too."""

WAKE_PATHS: Final = frozenset((b"/wake_up", b"/is_sleeping"))
"""Paths of vLLM (with VLLM_SERVER_DEV_MODE=1) that are meant for a server that is asleep."""


def is_inference(path: bytes) -> bool:
    """Return True if a POST to a path, without its query, is work for the engine alone."""
    return path in INFERENCE_PATHS or path.startswith(INFERENCE_FOLDERS)
