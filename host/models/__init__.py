"""The small models that the pack brings or makes, through the host's own classes. No attention control."""
