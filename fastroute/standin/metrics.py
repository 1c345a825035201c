"""The text of /metrics with the names and labels of vLLM 0.32."""

from collections.abc import Collection

from fastroute.standin.engine import Engine, Mode

BLOCK_TOKENS = 16
KV_BLOCKS = 1024
FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")


class Family:
    """One metric with its samples: label text -> value."""

    __slots__ = ("help", "kind", "name", "samples")

    def __init__(self, name: str, kind: str, help_: str, samples: dict[str, float]) -> None:
        self.name = f"vllm:{name}"
        self.kind = kind
        self.help = help_
        self.samples = samples

    def render(self) -> str:
        lines = [f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"]
        lines += [f"{self.name}{{{labels}}} {value}\n" for labels, value in self.samples.items()]
        return "".join(lines)


def render_metrics(engine: Engine, model: str, names: Collection[str] = ()) -> bytes:
    """Render all metrics, or only the named ones.

    Args:
        engine: Source of the values.
        model: Value of the label `model_name`.
        names: Full names of samples; empty for all.
    """
    families = _load(engine, model) + _totals(engine, model)
    return "".join(
        [family.render() for family in families if not names or family.name in names]
    ).encode()


def _load(engine: Engine, model: str) -> list[Family]:
    both = f'engine="0",model_name="{model}"'
    awake = float(engine.mode is not Mode.ASLEEP)
    usage = min(1.0, engine.tokens_held / (KV_BLOCKS * BLOCK_TOKENS))
    waiting = float(engine.waiting)
    return [
        Family("num_requests_running", "gauge", "Sequences being generated.", {
            both: float(engine.running),
        }),
        Family("num_requests_waiting", "gauge", "Sequences waiting for a slot.", {both: waiting}),
        Family("num_requests_waiting_by_reason", "gauge", "Waiting sequences, by reason.", {
            f'{both},reason="capacity"': waiting,
            f'{both},reason="deferred"': 0.0,
        }),
        Family("engine_sleep_state", "gauge", "Whether the engine is awake.", {
            f'{both},sleep_state="awake"': awake,
            f'{both},sleep_state="weights_offloaded"': 1.0 - awake,
            f'{both},sleep_state="discard_all"': 0.0,
        }),
        Family("kv_cache_usage_perc", "gauge", "KV-cache usage, 0 to 1.", {both: usage}),
    ]  # fmt: skip


def _totals(engine: Engine, model: str) -> list[Family]:
    both = f'engine="0",model_name="{model}"'
    prompt_tokens = float(engine.prompt_tokens)
    cache = f'block_size="{BLOCK_TOKENS}",cache_dtype="auto",enable_prefix_caching="True"'
    cache += f',engine="0",kv_cache_size_tokens="{KV_BLOCKS * BLOCK_TOKENS}"'
    cache += f',num_gpu_blocks="{KV_BLOCKS}"'
    return [
        Family("prefix_cache_queries_total", "counter", "Prompt tokens looked up.", {
            both: prompt_tokens,
        }),
        Family("prefix_cache_hits_total", "counter", "Prompt tokens found.", {both: 0.0}),
        Family("num_preemptions_total", "counter", "Preemptions.", {both: 0.0}),
        Family("prompt_tokens_total", "counter", "Prompt tokens read.", {both: prompt_tokens}),
        Family("generation_tokens_total", "counter", "Tokens made.", {
            both: float(engine.generation_tokens),
        }),
        Family("request_success_total", "counter", "Sequences that ended by themselves.", {
            f'engine="0",finished_reason="{reason}",model_name="{model}"': float(
                engine.finished.get(reason, 0)
            )
            for reason in FINISH_REASONS
        }),
        Family("admission_rejections_total", "counter", "Requests refused as too many.", {
            f'model_name="{model}",reason="max_num_queued_reqs"': float(engine.refused),
            f'model_name="{model}",reason="max_num_queued_tokens"': 0.0,
        }),
        Family("cache_config_info", "gauge", "The KV cache as configured.", {
            f'{cache}': 1.0,
        }),
    ]  # fmt: skip
