"""Real GPUs, through NVIDIA's management library: `library.py` calls it, the others say what its answers mean."""
