"""Attention Regulation (Zhang et al., ECCV 2024): the method, its bumps, its descent. No other method uses them."""

from .method import AttentionRegulation, AttentionRegulationSettings

__all__ = ["AttentionRegulation", "AttentionRegulationSettings"]
