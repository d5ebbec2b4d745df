"""Scenes -> shards -> batches -> a trained network."""
