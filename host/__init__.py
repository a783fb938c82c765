"""The only layer that imports the host (ComfyUI): one file per group of host facts."""
