"""Layouts that need the host: model files, and the model's own early attention. No geometry: that is core/layout."""
