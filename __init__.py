"""Prompt Fidelity: a ComfyUI node pack that makes text-to-image models draw what the prompt says."""

# Help pages are looked up under the folder's name, which WEB_DIRECTORY registers (the pyproject key `web` would
# register another).
WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    # Imported here, not above: pytest imports this file as a plain module, where relative imports have no parent.
    from .nodes import PromptFidelityExtension

    return PromptFidelityExtension()
