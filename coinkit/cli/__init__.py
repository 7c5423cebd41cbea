"""The commands: `main` chooses a verb; each verb is one module with `add_arguments(parser)` and `main(args) -> int`."""
