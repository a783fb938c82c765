"""The science, in PyTorch, NumPy and SciPy: usable without ComfyUI. Never imports the host or the nodes."""
