"""Nouns: params, contracts, warehouse, views, bundle, serving. Imports neither tasks nor flows."""
