"""The loops that apply a method to a run: moving the latent, rearranging it, editing scores, mixing outputs; and the
record of it.

Knows no method by name, and no network.
"""
