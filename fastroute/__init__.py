"""fastroute: a load-aware router in front of vLLM servers."""

__version__ = "0.1.0"
