"""The pack's own wires. Everything else is the host's own type."""

from comfy_api.latest import io

Targets = io.Custom("FIDELITY_TARGETS")
Method = io.Custom("FIDELITY_METHOD")
Record = io.Custom("FIDELITY_RECORD")

CATEGORY = "Prompt Fidelity"
