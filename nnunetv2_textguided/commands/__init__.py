"""One module per subcommand: its options, and the call of what does it."""
