"""Finding Space-Time Attention's weights for one picture, and CLIP's view of a picture. No loop of a run."""
