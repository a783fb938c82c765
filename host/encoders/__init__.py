"""Text encoders: where a prompt's words are among their tokens, which rows of the conditioning those become, and how
they attend to each other. No encoder is known by its name: all is read off the host's own tokenizers and modules.
"""
