"""What the artist sees of a run: the report, the maps, the loss plot. Draws what it is handed; computes no method."""
