from coinkit.testing.small_runs import loaded_backbones, mini_engine  # noqa: F401
