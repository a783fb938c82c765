"""The only layer that imports the host (ComfyUI): a folder for each group of host facts. Never imports the nodes."""
