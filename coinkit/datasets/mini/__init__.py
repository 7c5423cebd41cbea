"""The mini stream: a drawn world and eight instruction tasks named and formatted after CoIN's."""

from coinkit.datasets.mini.dataset import Mini

__all__ = ['Mini']
