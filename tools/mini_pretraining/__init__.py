"""Pre-training of the mini backbones: the samples of a step, the architectures, the resumable loop."""
