from mini_runs import loaded_backbones, mini_engine  # noqa: F401
