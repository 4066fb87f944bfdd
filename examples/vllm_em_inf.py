"""Answer prompts with vLLM, plainly and with EM-INF, in one batch.

    python examples/vllm_em_inf.py
    python examples/vllm_em_inf.py --model Qwen/Qwen2.5-0.5B-Instruct --chat "What is 17 * 23?" "Name a prime."

vLLM needs an environment of its own: `pip install 'em-hf[vllm]'`, or `make vllm-venv` for a CPU. Nothing has to be
registered: vLLM finds em-hf, and each request says for itself whether it wants EM-INF.
"""

import argparse

from vllm import LLM, SamplingParams

from em_hf.pocket import POCKET_REASONER

PROMPTS = [
    "Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?",
    "Mia has 30 stickers. Mia gives away 12 stickers. How many stickers does Mia have left?",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="*", default=PROMPTS)
    parser.add_argument("--model", default=str(POCKET_REASONER), help="Hub id or folder")
    parser.add_argument("--chat", action="store_true", help="put the prompts into the model's chat template")
    parser.add_argument("--threshold", type=float, default=0.1, help="entropy in nats from which EM-INF acts")
    parser.add_argument("--n-grad-steps", type=int, default=10, help="gradient steps per token")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    llm = LLM(args.model, enforce_eager=True)  # eager: it starts sooner
    plain = SamplingParams(max_tokens=args.max_tokens, seed=args.seed)
    entropy_min = {"threshold": args.threshold, "n_grad_steps": args.n_grad_steps}
    em_inf = SamplingParams(max_tokens=args.max_tokens, seed=args.seed, extra_args={"entropy_min": entropy_min})
    requests = [(prompt, params) for prompt in args.prompts for params in (plain, em_inf)]
    prompts, params = [prompt for prompt, _ in requests], [params for _, params in requests]
    if args.chat:
        found = llm.chat([[{"role": "user", "content": prompt}] for prompt in prompts], params)
    else:
        found = llm.generate(prompts, params)
    for (prompt, used), request in zip(requests, found, strict=True):
        print(f"=== {'plain' if used is plain else 'EM-INF'}: {prompt}\n{request.outputs[0].text.strip()}\n")


if __name__ == "__main__":  # vLLM starts processes, which import this file again
    main()
