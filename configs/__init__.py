"""Experiments: one file each, which imports nothing but ml_collections and its neighbours here."""
