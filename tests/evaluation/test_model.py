"""The model type `em-hf` of lm-eval against transformers' own generation, and its independence of what is read back."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

import em_hf.evaluation  # noqa: F401  (registers the model type)
from em_hf.evaluation.confidence import sample_answers
from em_hf.evaluation.model import EntropyMinLM, TopNSigmaLogitsWarper
from em_hf.evaluation.strategies import make_strategy
from em_hf.evaluation.strategy import NEXT_TURN
from em_hf.models import encode_prompts, load_model
from em_hf.pocket import POCKET_REASONER, problems


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    return load_model("pocket-reasoner", device="cpu")


def lm(pocket: tuple[Any, Any], **options: Any) -> EntropyMinLM:
    return EntropyMinLM(pocket[0], tokenizer=pocket[1], **{"batch_size": 8, **options})


def requests(n: int, repeats: int = 1, **generation: Any) -> list[Instance]:
    """What lm-eval makes of `n` problems: each request stands `repeats` times in the list, the same object."""
    made = [
        Instance(
            "generate_until",
            row,
            (row["prompt"], {"until": [], "max_gen_toks": 64, **generation}),
            0,
            ("t", i, repeats),
        )
        for i, row in enumerate(problems("test", n, 0))
    ]
    return [request for request in made for _ in range(repeats)]


def test_importing_the_package_registers_the_model_type() -> None:
    assert get_model("em-hf") is EntropyMinLM


def test_greedy_answers_and_counts_are_those_of_generate(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    mine = lm(pocket, strategy=make_strategy("greedy"))
    texts = mine.generate_until(requests(6))
    for i, row in enumerate(problems("test", 6, 0)):
        batch = encode_prompts(tokenizer, [row["prompt"]])
        out = model.generate(**batch, do_sample=False, max_new_tokens=64)[0, batch["input_ids"].shape[1] :]
        assert tokenizer.decode(out, skip_special_tokens=True) == texts[i]
        one = mine.completions["t", i, 0]
        assert one.tokens == len(out) and one.prompt_tokens == batch["input_ids"].shape[1]
        with torch.no_grad():
            logits = model(torch.cat([batch["input_ids"], out[None]], 1)).logits[0, len(batch["input_ids"][0]) - 1 : -1]
        log_p = logits.double().log_softmax(-1)
        assert one.nats == pytest.approx(float(-(log_p.exp() * log_p).sum()), rel=1e-4)


def test_a_request_of_its_own_may_hold_em_inf_settings(pocket: tuple[Any, Any]) -> None:
    drawn = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    plain = lm(pocket).generate_until(requests(16, **drawn))
    off = lm(pocket).generate_until(requests(16, **drawn, entropy_min={"threshold": 99.0}))
    on = lm(pocket).generate_until(requests(16, **drawn, entropy_min={"threshold": 0.05, "n_grad_steps": 20}))
    assert off == plain and on != plain


def test_what_a_models_own_generation_config_says_changes_nothing(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    names = ("sampling", "greedy")
    expected = [lm(pocket, strategy=make_strategy(name)).generate_until(requests(6)) for name in names]
    own = copy.deepcopy(model.generation_config)
    changes = {"max_new_tokens": 5, "min_new_tokens": 60, "repetition_penalty": 3.0, "no_repeat_ngram_size": 2}
    for key, value in {**changes, "top_k": 1, "min_p": 0.9, "temperature": 5.0}.items():
        setattr(model.generation_config, key, value)
    try:
        found = [lm(pocket, strategy=make_strategy(name)).generate_until(requests(6)) for name in names]
        rows = problems("test", 4, 0)
        arguments = ([r["prompt"] for r in rows], [r["answer"] for r in rows])
        theirs = [s.text for s in sample_answers(model, tokenizer, *arguments, samples=2, max_new_tokens=64)]
    finally:
        model.generation_config = own
    assert found == expected
    assert theirs == [s.text for s in sample_answers(model, tokenizer, *arguments, samples=2, max_new_tokens=64)]


def test_samples_of_a_problem_differ_and_the_seed_decides_them(pocket: tuple[Any, Any]) -> None:
    hot = make_strategy("sampling", temperature=3.0)
    first, again, other = (
        lm(pocket, strategy=hot, seed=seed).generate_until(requests(4, repeats=3)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) == 12


def test_strategies_that_draw_the_same_way_share_their_random_numbers(pocket: tuple[Any, Any]) -> None:
    plain = lm(pocket, strategy=make_strategy("sampling")).generate_until(requests(24))
    never = make_strategy("em-inf", entropy_min={"threshold": 99.0})
    assert lm(pocket, strategy=never).generate_until(requests(24)) == plain


def test_answers_read_back_change_nothing_and_are_not_decoded_again(pocket: tuple[Any, Any]) -> None:
    strategy = make_strategy("self-consistency", n=2)
    whole = lm(pocket, strategy=strategy, batch_size=4)
    batches: list[dict] = []
    whole.on_batch = batches.append
    expected = whole.generate_until(requests(10))
    assert len(batches) == 5 and sum(map(len, batches)) == 10
    resumed = lm(pocket, strategy=strategy, batch_size=4)
    # The first two batches, and half of the third, which is decoded anew.
    resumed.answered = {**batches[0], **batches[1], **dict(list(batches[2].items())[:1])}
    redone: list[dict] = []
    resumed.on_batch = redone.append
    assert resumed.generate_until(requests(10)) == expected
    assert [set(batch) for batch in redone] == [set(batch) for batch in batches[2:]]
    same = {key: (one.text, one.tokens, one.nats) for key, one in whole.completions.items()}
    assert {key: (one.text, one.tokens, one.nats) for key, one in resumed.completions.items()} == same


def test_tokens_after_a_stop_string_do_not_count(pocket: tuple[Any, Any]) -> None:
    tokenizer = pocket[1]
    stopped = lm(pocket, strategy=make_strategy("greedy"))
    texts = stopped.generate_until(requests(8, until=["####"]))
    whole = lm(pocket, strategy=make_strategy("greedy"))
    for i, text in enumerate(whole.generate_until(requests(8))):
        assert "####" in text and texts[i] == text.split("####")[0]
        tokens = tokenizer(text)["input_ids"]
        fewest = next(n for n in range(len(tokens) + 1) if "####" in tokenizer.decode(tokens[:n]))
        assert stopped.completions["t", i, 0].tokens == fewest
        assert stopped.completions["t", i, 0].nats <= whole.completions["t", i, 0].nats


def test_a_conversation_goes_on_after_the_answer(pocket: tuple[Any, Any]) -> None:
    tokenizer = pocket[1]
    plain = lm(pocket)
    assert plain.follow_up("Q", " A", "Again?") == "Q A\n\nAgain?\n"
    tokenizer.chat_template = "{% for m in messages %}<{{m.role}}>{{m.content}}{% endfor %}<assistant>"
    try:
        chat = lm(pocket)
        opened = chat.apply_chat_template([{"role": "user", "content": "Q"}])
        assert opened == "<user>Q<assistant>"
        second = chat.follow_up(opened, "A", "Again?")
        assert second == "<user>Q<assistant>A<user>Again?<assistant>"
        assert chat.follow_up(second, "B", "And?") == "<user>Q<assistant>A<user>Again?<assistant>B<user>And?<assistant>"
    finally:
        tokenizer.chat_template = None


def test_a_problem_asked_in_turns_is_one_answer_that_took_all_of_them(pocket: tuple[Any, Any]) -> None:
    mine = lm(pocket, strategy=make_strategy("greedy"))
    asked = requests(3)
    first = mine.generate_until(asked)
    alone = dict(mine.completions)
    asked[1].doc["turns"] = ["And again?", "Once more?"]
    assert mine.generate_until(asked)[::2] == first[::2]
    parts = mine.completions["t", 1, 0].text.split(NEXT_TURN)
    assert len(parts) == 3 and parts[0] == first[1]
    context = mine.follow_up(asked[1].args[0], parts[0], "And again?")
    second = mine.complete([context], {"until": [], "max_gen_toks": 64, "do_sample": False})[0]
    assert parts[1] == second.text
    assert mine.completions["t", 1, 0].tokens >= alone["t", 1, 0].tokens + second.tokens


def test_lm_eval_makes_the_model_type_by_name_and_scores_a_task_with_settings_for_em_inf() -> None:
    from lm_eval import simple_evaluate

    from em_hf.evaluation.run import EvalSettings, load_tasks, quiet_lm_eval

    quiet_lm_eval()
    tasks = load_tasks(EvalSettings("any"))
    results = simple_evaluate(
        model="em-hf",
        model_args={"pretrained": str(POCKET_REASONER), "dtype": "float32"},
        device="cpu",
        batch_size=32,
        tasks=list(tasks["tasks"].values()),
        limit=32,
        gen_kwargs={"do_sample": True, "temperature": 1.0, "top_k": 0, "entropy_min": {"threshold": 0.02}},
    )
    assert results["results"]["pocket"]["pass@1,all"] > 0.6


def test_an_adapter_answers_as_the_model_it_adapts_does_before_training(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    strategy = make_strategy("em-inf", entropy_min={"threshold": 0.1})
    expected = lm((model, tokenizer), strategy=strategy).generate_until(requests(6))
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    adapted, _ = load_model(str(tmp_path), device="cpu")
    assert type(adapted).__name__.startswith("Peft")
    assert lm((adapted, tokenizer), strategy=strategy).generate_until(requests(6)) == expected


def test_top_n_sigma_keeps_what_is_within_its_distance_of_the_largest() -> None:
    rows = torch.tensor([[3.0, 1.0, -1.0, -3.0], [0.0, -torch.inf, 4.0, -torch.inf]])
    # deviations: the root of (9 + 1 + 1 + 9) / 4 and, of the two that are allowed, 2
    found = TopNSigmaLogitsWarper(1.0)(torch.empty(2, 0), rows)
    assert found.tolist() == [[3.0, 1.0, -torch.inf, -torch.inf], [-torch.inf, -torch.inf, 4.0, -torch.inf]]
    assert torch.equal(TopNSigmaLogitsWarper(9.0)(torch.empty(2, 0), rows), rows)
    scaled = TopNSigmaLogitsWarper(1.0)(torch.empty(2, 0), rows / 7)
    assert torch.equal(scaled.isinf(), found.isinf()), "whatever the temperature"


def test_a_small_sigma_is_greedy_and_a_large_one_is_sampling(pocket: tuple[Any, Any]) -> None:
    def answers(name: str, **settings: Any) -> list[str]:
        return lm(pocket, strategy=make_strategy(name, **settings)).generate_until(requests(6))

    assert answers("top-n-sigma", top_n_sigma=1e-4) == answers("greedy")
    assert answers("top-n-sigma", top_n_sigma=1e4) == answers("sampling") != answers("greedy")


def test_confidence_is_minus_the_mean_log_probability_of_the_likeliest_tokens(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    rows = problems("test", 3, 0)
    generation = {**make_strategy("weighted-self-consistency").generation(), "until": [], "max_gen_toks": 64}
    for row, one in zip(rows, lm(pocket).complete([row["prompt"] for row in rows], generation), strict=True):
        prompt = tokenizer(row["prompt"])["input_ids"]
        ids = [*prompt, *tokenizer(one.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        if len(ids) - len(prompt) == one.tokens:  # the text is read back as the tokens that were drawn
            with torch.no_grad():
                log_p = model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
            assert one.confidence == pytest.approx(float(-log_p.topk(20).values.mean()), abs=1e-4)
        assert one.confidence is not None and "confidence" not in one.to_dict()


def test_a_models_own_stop_strings_end_its_answers(pocket: tuple[Any, Any]) -> None:
    model, _ = pocket
    mine = lm(pocket, strategy=make_strategy("greedy"))
    whole = mine.generate_until(requests(4))
    model.generation_config.stop_strings = ["####"]
    try:
        cut = mine.generate_until(requests(4))
    finally:
        model.generation_config.stop_strings = None
    for before, after in zip(whole, cut, strict=True):
        assert before.startswith(after) and after.rstrip().endswith("####")
