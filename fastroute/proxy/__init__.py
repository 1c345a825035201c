"""The data plane: moves bytes between clients and vLLM servers."""
