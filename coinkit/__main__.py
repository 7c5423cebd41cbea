"""`python -m coinkit VERB ...` is the console script `coinkit`."""

from coinkit.cli.main import program

if __name__ == '__main__':
    program()
