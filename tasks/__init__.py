"""Verbs: typed steps. Frames and frozen params in, a checked frame or value out."""
