"""Small runs, under the name the tests use."""

from coinkit.testing.small_runs import *  # noqa: F403
