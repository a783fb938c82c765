"""Whether an object is in a finished picture, by the model's own judgement: a Diffusion Classifier. No attention maps.

Li, Prabhudesai, Duggal, Brown, Pathak, "Your Diffusion Model is Secretly a Zero-Shot Classifier", ICCV 2023, arXiv
2303.16203: noise is added to the picture, and the prompt under which the model denoises it best is the one that fits.
"""
