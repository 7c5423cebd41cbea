# CoIN's judge behind a vLLM server on this machine: vllm serve Qwen/Qwen1.5-32B-Chat
# Greedy, so that a second run gives the same scores; decoding='upstream' samples as published (no seed).
judge = dict(
    type='OpenAICompatible',
    base_url='http://localhost:8000/v1',
    model='Qwen/Qwen1.5-32B-Chat',
    concurrency=32)
