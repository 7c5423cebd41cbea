"""Points at which a run may die, under the name the tests use."""

from coinkit.testing.faults import *  # noqa: F403
