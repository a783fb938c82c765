"""Attention maps: from queries and keys to maps, their sizes and distances, what is kept of them. No method's loss."""
