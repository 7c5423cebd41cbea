"""One question to one stage of a run, answered as evaluation would answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from coinkit.config import load_config
from coinkit.data.images import FileImage
from coinkit.engine import builder, generation
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import RunDir, choose_stage
from coinkit.engine.strategies import make_strategy
from coinkit.types import Sample, Turn


def predict(path: Path, *, stage: str | None, images: Sequence[str], prompt: str, max_new_tokens: int = 128,
            device: str = 'auto') -> str:
    """The answer of the stage's own adapter (a routing method is not asked)."""
    run = RunDir(path)
    name = choose_stage(run, run.read_ledger(), stage)
    config = replace(load_config(run.config), device=device, strategy={'type': 'OneDevice'})
    strategy = make_strategy(config.strategy, device=device)
    strategy.setup()
    try:
        state = builder.build_state(config, run, strategy, Reporter(active=False))
        if run.adapter(name).exists():
            state.load_stage(name)
        pictures = tuple(FileImage(Path(image).name, root=str(Path(image).parent)) for image in images)
        sample = Sample('prompt', 'predict', pictures, (Turn('human', prompt),))
        answers: list[str] = []
        generation.generate(
            state.backbone, generation.requests_for(state.backbone, [sample], max_new_tokens=max_new_tokens),
            plan=[[0]], on_batch=lambda pairs: answers.extend(text for _, text in pairs), workers=0)
        return answers[0]
    finally:
        strategy.teardown()
