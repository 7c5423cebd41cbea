# One process, one CPU or GPU: what strategy=dict(type='auto') chooses without a launcher.
strategy = dict(type='OneDevice')
