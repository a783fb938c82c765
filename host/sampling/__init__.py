"""One sampling run: a method attached to a model, its steps, samplers and gradients. No network family by name."""
