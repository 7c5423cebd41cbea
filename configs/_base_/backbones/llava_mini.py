# The embedded 6.4 M mini-LLaVA; its weights come with coinkit.
backbone = dict(type='Llava', checkpoint='mini', dtype='float32', max_length=512)
