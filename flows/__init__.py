"""Sentences: one module an operation. Importing any of them pins what a processor could choose."""

from tandem.processor import pin

pin()
