"""gemma-3-270m (base) under one protocol: two prompts, MAWPS and SVAMP, decoding and training at equal budgets.

    python -m benchmarks.gemma_protocol [--minutes N] [--jobs N] [--quick] [--data-dir DIR] [--work FOLDER]
                                        [--output FILE.json]

The prompts are `question` (four examples, answers after ####) and `boxed` (that of `em-hf eval --num-fewshot 4`). With
each: greedy decoding, sampling, and temperature and EM-INF, each with the best of equally many settings on the same
validation problems; then EM-FT, SSD and a random reward, LoRA on the same unlabeled MAWPS prompts for equal FLOPs, each
greedy and sampled.

Test problems come in parts, and no part begins before every way of answering has done the one before it; the report is
about the parts that all have done. A training is a run folder under `--work`, a measurement a file. Nothing there is
repeated: after `--minutes`, or when it was stopped, the same command goes on. `prompts/` there has the prompts as
`em-hf eval --dataset FILE --no-chat-template` reads them.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.common import environment, write
from benchmarks.gemma import HUB_ID, SETS, TEMPLATES, Problem, gemma_folder, load_problems
from benchmarks.gemma_report import compared, report
from benchmarks.train_real import trained
from em_hf.data import load_prompts
from em_hf.evaluation.own_data import own_task
from em_hf.evaluation.results import BASES
from em_hf.evaluation.run import evaluate, load_tasks
from em_hf.evaluation.settings import EvalSettings
from em_hf.evaluation.strategies import make_strategies
from em_hf.evaluation.strategy import Strategy
from em_hf.evaluation.tuning import Trial, trials_of, tune
from em_hf.lab.run import prepare_process
from em_hf.methods import METHODS
from em_hf.models import load_model
from em_hf.runs import is_finished, read_facts, read_json, write_json, write_lines
from em_hf.training.settings import RunSettings

TUNED = ("temperature", "em-inf")
TRAINED = ("em-ft", "ssd", "random")
ROWS_A_STEP, GENERATIONS = 8, 4


@dataclass(frozen=True)
class Protocol:
    """All that decides what a job finds, besides the model and the prompts.

    Args:
        templates, sets: prompts and problem sets; training is on the first set.
        trials: settings tried of each tuned strategy.
        validation: problems of each set to tune on.
        training: prompts of the first set to train on.
        part: test problems of each set in a part, decoded as one batch.
        parts: the most there are.
    """

    templates: tuple[str, ...] = tuple(TEMPLATES)
    sets: tuple[str, ...] = SETS
    trials: int = 5
    validation: int = 40
    training: int = 200
    steps: int = 12
    learning_rate: float = 2e-5
    part: int = 25
    parts: int = 32
    max_new_tokens: int = 32
    dtype: str = "bfloat16"


@dataclass(frozen=True)
class Training:
    """A training run: the run folder `runs/<name>`."""

    template: str
    method: str

    @property
    def name(self) -> str:
        return f"{self.template}-{self.method}"


@dataclass(frozen=True)
class Measuring:
    """A part of all sets answered by a model, "base" or a method's: the file `measured/<name>.json`."""

    template: str
    model: str
    strategy: Strategy
    part: str

    @property
    def name(self) -> str:
        one, config = self.strategy, self.strategy.entropy_min
        set_to = f"={config.threshold:g},{config.n_grad_steps}" if config else f"={one.temperature:g}"
        how = one.name if one.name in BASES else one.name + set_to
        return "_".join([self.template, self.model, how, self.part])

    @property
    def way(self) -> str:
        """What the report calls this way of answering."""
        return self.strategy.name if self.model == "base" else f"{self.model} {self.strategy.name}"


Job = Training | Measuring


def split(problems: Mapping[str, list[Problem]], protocol: Protocol) -> dict[str, dict[str, list[Problem]]]:
    """Return the problems of each set by part, none twice: "validation", then "0", "1", ... to test on, and of the
    first set also "training".

    Raises:
        ValueError: a set has too few problems.
    """
    sizes = {"validation": protocol.validation} | {str(part): protocol.part for part in range(protocol.parts)}
    found = {}
    for place, (name, rows) in enumerate(problems.items()):
        wanted = sizes if place else {**sizes, "training": protocol.training}
        if len(rows) < sum(wanted.values()):
            raise ValueError(f"{name} has {len(rows)} problems, but the protocol takes {sum(wanted.values())}")
        left = iter(rows)
        found[name] = {part: list(islice(left, size)) for part, size in wanted.items()}
    return found


def open_work(
    work: Path,
    protocol: Protocol,
    problems: Mapping[str, list[Problem]],
    templates: Mapping[str, Callable[[str], str]] = TEMPLATES,
) -> None:
    """Make the folder with its prompts, or go on in one.

    Raises:
        ValueError: it holds the work of another protocol.
    """
    mark, wanted = work / "protocol.json", json.loads(json.dumps(asdict(protocol)))
    if mark.is_file():
        if read_json(mark) != wanted:
            raise ValueError(f"{work} holds the work of a protocol with other settings: name another --work")
        return
    for folder in ("prompts", "measured", "runs"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    for name, parts in split(problems, protocol).items():
        for part, rows in parts.items():
            for template in protocol.templates:
                lines = [{"prompt": templates[template](question), "answer": answer} for question, answer in rows]
                write_lines(prompts_file(work, template, name, part), lines)
    write_json(mark, wanted)


def prompts_file(work: Path, template: str, name: str, part: str) -> Path:
    return work / "prompts" / f"{template}-{name}-{part}.jsonl"


def training_settings(job: Training, protocol: Protocol, model: str, work: Path) -> dict[str, Any]:
    """Return a run's settings; a step trains on equally many completions with every method, and no run stops early."""
    samples = GENERATIONS if METHODS[job.method].rollouts else 1
    return {
        "recipe": "default",
        "method": job.method,
        "model": model,
        "dataset": str(prompts_file(work, job.template, protocol.sets[0], "training")),
        "device": "cpu",
        "dtype": protocol.dtype,
        "chat_template": False,
        "lora": True,
        "loss_reduction": "token_mean",
        "beta": 0.0,
        "steps": protocol.steps,
        "batch_size": ROWS_A_STEP // samples,
        "num_generations": samples,
        "learning_rate": protocol.learning_rate,
        "max_completion_length": protocol.max_new_tokens,
        "eval_problems": 0,
        "guard": False,
        "save_steps": 4,
    }


def measured(job: Measuring, protocol: Protocol, model: str, work: Path) -> dict[str, Any]:
    """Return every figure of `em-hf eval` for each problem of the part, by set."""
    source = model if job.model == "base" else str(work / "runs" / Training(job.template, job.model).name)
    loaded = load_once(source, protocol.dtype)
    settings = EvalSettings(
        tasks=(),
        batch_size=max(protocol.part, protocol.validation),
        max_new_tokens=protocol.max_new_tokens,
        chat_template=False,
        seed=int(job.part) if job.part.isdigit() else 0,
    )
    found = {}
    for name in protocol.sets:
        data = load_prompts(str(prompts_file(work, job.template, name, job.part)))
        [row] = evaluate(*loaded, settings, [job.strategy], tasks=load_tasks(settings, own=own_task(data)))
        found[name] = row.values
    return found


@lru_cache(maxsize=1)
def load_once(source: str, dtype: str) -> tuple[Any, Any]:
    return load_model(source, dtype=dtype, device="cpu")


def is_done(job: Job, work: Path) -> bool:
    if isinstance(job, Training):
        return is_finished(work / "runs" / job.name)
    return result_file(job, work).is_file()


def result_file(job: Measuring, work: Path) -> Path:
    return work / "measured" / f"{job.name}.json"


def do_chain(chain: Sequence[Job], *, protocol: Protocol, model: str, work: Path, until: float) -> None:
    """Do what is missing of these jobs; none is begun after the time `until`, in seconds since the epoch."""
    for job in chain:
        if is_done(job, work) or time.time() > until:
            continue
        started = time.time()
        if isinstance(job, Training):
            trained(work / "runs" / job.name, RunSettings.resolve(training_settings(job, protocol, model, work)))
        else:
            write_json(result_file(job, work), measured(job, protocol, model, work))
        print(f"{job.name}: {time.time() - started:.0f} s", flush=True)


def first_chains(protocol: Protocol) -> list[list[Job]]:
    """Return the trainings and the trials, each chain on one model."""
    chains: list[list[Job]] = [[Training(template, method)] for template in protocol.templates for method in TRAINED]
    for template in protocol.templates:
        for strategy in make_strategies(TUNED):
            versions = trials_of(strategy, protocol.trials)
            chains.append([Measuring(template, "base", version, "validation") for version in versions])
    return chains


def tuned(protocol: Protocol, work: Path, template: str) -> tuple[list[Strategy], list[Trial]]:
    """Return the tuned strategies with the settings that are right most often on validation problems, and all trials.

    One setting for a prompt: accuracy is the mean over the sets.
    """

    def accuracy(strategy: Strategy) -> float:
        found = read_json(result_file(Measuring(template, "base", strategy, "validation"), work))
        shares = [sum(values["pass@1"]) / len(values["pass@1"]) for values in found.values()]
        return sum(shares) / len(shares)

    return tune(make_strategies(TUNED), protocol.trials, accuracy)


def parts_of(protocol: Protocol, work: Path) -> Iterator[list[list[Measuring]]]:
    """Yield all ways of answering each part, each chain on one model; the trials must be done."""
    bases = make_strategies(BASES)
    best = {template: tuned(protocol, work, template)[0] for template in protocol.templates}
    for part in map(str, range(protocol.parts)):
        chains = []
        for template in protocol.templates:
            chains.append([Measuring(template, "base", strategy, part) for strategy in [*bases, *best[template]]])
            chains += [[Measuring(template, method, strategy, part) for strategy in bases] for method in TRAINED]
        yield chains


def run(protocol: Protocol, model: str, work: Path, *, jobs: int, minutes: float) -> None:
    """Do what is missing in `work`, in `jobs` processes with one thread each, and begin nothing after `minutes`."""
    until = time.time() + 60 * minutes
    prepare_process()
    do = partial(do_chain, protocol=protocol, model=model, work=work, until=until)
    # Processes of their own: a run sets random states and signal handlers, and a fork would share torch's threads.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), prepare_process) if jobs > 1 else nullcontext()
    with pool as several:
        each = several.map if several else map

        def finish(chains: Sequence[Sequence[Job]]) -> bool:
            waiting = [chain for chain in chains if not all(is_done(job, work) for job in chain)]
            list(each(do, waiting))
            return all(is_done(job, work) for chain in chains for job in chain)

        if not finish(first_chains(protocol)):
            return
        for chains in parts_of(protocol, work):
            if not finish(chains):
                return


def whole_parts(protocol: Protocol, work: Path) -> list[list[Measuring]]:
    """Return the jobs of each part that is answered in every way, from the first part on."""
    found: list[list[Measuring]] = []
    if all(is_done(job, work) for chain in first_chains(protocol) for job in chain):
        for chains in parts_of(protocol, work):
            jobs = [job for chain in chains for job in chain]
            if not all(is_done(job, work) for job in jobs):
                break
            found.append(jobs)
    return found


def record_of(protocol: Protocol, work: Path) -> dict[str, Any]:
    """Return what the work has found so far; nothing without a whole part.

    `problems` is their number in each set, `tuning` has every trial and `training` every run; `rows` and `differences`
    are those of `compared`.
    """
    parts = whole_parts(protocol, work)
    record: dict[str, Any] = {"model": HUB_ID, "settings": asdict(protocol), "problems": protocol.part * len(parts)}
    record |= {name: [] for name in ("tuning", "training", "rows", "differences")}
    answers: dict[str, dict[str, Any]] = {template: {} for template in protocol.templates}
    for jobs in zip(*parts, strict=True):
        answers[jobs[0].template][jobs[0].way] = joined(jobs, work)
    for template in protocol.templates if parts else ():
        chosen, tried = tuned(protocol, work, template)
        best = {(strategy.name, strategy.describe()) for strategy in chosen}
        found = {
            "tuning": [{**asdict(one), "chosen": (one.strategy, one.settings) in best} for one in tried],
            "training": [run_facts(Training(template, method), work) for method in TRAINED],
            **compared(answers[template]),
        }
        for name, rows in found.items():
            record[name] += [{"template": template, **row} for row in rows]
    return record


def joined(jobs: Sequence[Measuring], work: Path) -> dict[str, dict[str, list[float]]]:
    """Return a way's figures by set, for the problems of one part after those of the other."""
    found = [read_json(result_file(job, work)) for job in jobs]
    return {
        name: {key: [number for one in found for number in one[name][key]] for key in values}
        for name, values in found[0].items()
    }


def run_facts(job: Training, work: Path) -> dict[str, Any]:
    facts = read_facts(work / "runs" / job.name)
    assert facts.compute is not None  # of a finished run
    return {
        "method": job.method,
        "steps": facts.steps_done,
        "tokens_trained": facts.compute.tokens_trained,
        "tflops": facts.compute.flops / 1e12,
        "seconds": facts.compute.seconds,
    }


QUICK = Protocol(trials=2, validation=4, training=8, steps=1, part=4, parts=1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="begin nothing after this time, and report")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, each with one thread")
    parser.add_argument("--quick", action="store_true", help="four problems of each set, one training step")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("EM_HF_DATA_DIR", "../shared/data")))
    parser.add_argument("--work", type=Path, default=Path("runs/gemma-protocol"), help="jobs, kept to go on from")
    parser.add_argument("--output", type=Path, help="JSON to write; the report goes beside it as .md")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TQDM_DISABLE", "1")  # hides lm-eval's and datasets' bars in the processes that begin now
    protocol = QUICK if options.quick else Protocol()
    made = environment("benchmarks.gemma_protocol")
    open_work(options.work, protocol, load_problems(options.data_dir))
    run(protocol, str(gemma_folder()), options.work, jobs=options.jobs, minutes=options.minutes)
    record = {**made, **record_of(protocol, options.work)}
    text = report(record)
    print(text)
    if record["problems"]:
        write(options.output, record, text)


if __name__ == "__main__":
    main()
