"""The five questions of the lab, each answered in a few sentences that are made from the record's figures.

What a sentence says follows from the interval: a difference whose interval holds 0 is never called one.
"""

from collections.abc import Mapping

from em_hf.evaluation.strategies import STRATEGIES
from em_hf.lab.plan import AT_EQUAL_ENTROPY, EM_METHODS, MISLED
from em_hf.lab.words import KINDS, Record, changed, judged, listed, model_title, points, share
from em_hf.methods import METHODS

VOTES = STRATEGIES["self-consistency"].base.answers
NOTHING = "Not measured yet."

QUESTIONS = (
    "Does EM in training improve accuracy without labels?",
    "Does EM-INF beat other ways to decode?",
    "What happens to pass@k while pass@1 rises?",
    "Where does EM fail?",
    "How sensitive is EM-INF to its settings?",
)


def answers(record: Record) -> list[str]:
    """A short answer to each of `QUESTIONS`, on the base model where it is asked of several."""
    found = [training(record), decoding(record)[:1], passes(record), misled(record), sensitivity(record)[:1]]
    return [" ".join(sentences) or NOTHING for sentences in found]


def training(record: Record) -> list[str]:
    rows = {row["method"]: row for row in record["methods"]}
    em = [rows[name] for name in EM_METHODS if name in rows and rows[name]["over_base"]]
    if not em:
        return []
    did = [f"{row['title']} {changed(row['over_base'], row['sampled'])}" for row in em]
    said = [f"The base model is right {share(rows['base']['sampled'])}, sampled. Without labels {'; '.join(did)}."]
    for name in ("rloo", "grpo"):
        if name in rows and rows[name]["over_base"]:
            said.append(_beside_labels(em, rows[name], f"over_{name}"))
    return said + _guard(record["guarded"])


def _beside_labels(em: list[Record], with_labels: Record, key: str) -> str:
    parts = []
    for row in em:
        if row[key] is not None:
            where = judged(row[key], "above", "below", "not clearly apart from")
            cost = row["flops"] / with_labels["flops"]
            parts.append(f"{row['title']} is {where} that, {points(row[key])}, at {cost:.2f} times the FLOPs")
    return f"With labels {with_labels['title']} reaches {share(with_labels['sampled'])}; {'; '.join(parts)}."


def _guard(rows: list[Record]) -> list[str]:
    if not rows:
        return []
    title = METHODS[rows[0]["method"]].title
    steps = sorted(row["step"] for row in rows if row["step"] is not None)
    stopped = f"stops {len(steps)} of {len(rows)} runs of {title}"
    if steps:
        stopped += f", after step {listed([str(step) for step in steps])}"
    pairs = [(row["sampled"]["mean"], row["unguarded"]["mean"]) for row in rows if row["unguarded"]]
    if not pairs:
        return [f"The collapse guard of `em-hf train` {stopped}."]
    kept, lost = (100 * sum(values) / len(values) for values in zip(*pairs, strict=True))
    return [
        f"The collapse guard of `em-hf train`, which sees no label, {stopped}; the weights that it leaves are right "
        f"{kept:.1f}% of the time, against {lost:.1f}% without it."
    ]


def decoding(record: Record) -> list[str]:
    """A text for each model."""
    said = []
    for model in dict.fromkeys(row["model"] for row in record["decoding"]):
        rows = {row["strategy"]: row for row in record["decoding"] if row["model"] == model}
        if "em-inf" in rows and len(rows) > 1:
            said.append(_one_model(model, rows))
    return said


def _one_model(model: str, rows: Mapping[str, Record]) -> str:
    em = rows["em-inf"]
    groups: dict[str, list[str]] = {}
    for name in ("sampling", *AT_EQUAL_ENTROPY, "greedy"):
        if name in rows:
            found = judged(rows[name]["em_inf_over_it"], "beats", "is beaten by", "is not clearly apart from")
            groups.setdefault(found, []).append(f"{name} ({points(rows[name]['em_inf_over_it'])} points)")
    text = f"On {model_title(model)} EM-INF is right {share(em['sampled'])}."
    text += "".join(f" It {found} {listed(names)}." for found, names in groups.items())
    if equal := [name for name in AT_EQUAL_ENTROPY if name in rows]:
        text += f" ({listed(equal)} leave as much entropy as EM-INF.)"
    if (majority := rows.get("self-consistency")) is not None:
        where = judged(majority["em_inf_over_it"], "above", "below", "not clearly apart from")
        text += (
            f" It is {where} self-consistency of {VOTES} answers, {share(majority['sampled'])}, in "
            f"{em['seconds'] / majority['seconds']:.2f} times its time (the paper: as right, in a third of the time)."
        )
    return text


def passes(record: Record) -> list[str]:
    """What pass@1 and pass@k do, of all models and strategies that do the same."""
    groups: dict[str, list[str]] = {}
    for row in record["pass"]:
        if "over_base_k" in row:
            one, many = (judged(row[f"over_base_{k}"], "rises", "falls", "does not clearly change") for k in "1k")
            way = "with EM-INF" if row["strategy"] == "em-inf" else "sampled"
            figures = f"{points(row['over_base_1'])} and {points(row['over_base_k'])} points"
            did = f"pass@1 {one} and pass@{row['k']} {many}"
            groups.setdefault(did, []).append(f"{model_title(row['model'])} {way} ({figures})")
    return [f"Against sampling from the base model {did} for {listed(models)}." for did, models in groups.items()]


def misled(record: Record) -> list[str]:
    said = []
    for data, lead in (
        ("fewer", f'{MISLED} reads "fewer" as "more". On problems with that word'),
        ("others", "On others"),
    ):
        rows = {row["way"]: row for row in record["misled"]["rows"] if row["data"] == data}
        ways = {"EM-INF": "EM-INF", "EM-FT": "EM-FT, sampled"}
        did = [
            f"{name} {changed(rows[way]['over_sampling'], rows[way]['accuracy'])}"
            for name, way in ways.items()
            if way in rows and rows[way]["over_sampling"]
        ]
        if did:
            said.append(f"{lead} it is right {share(rows['sampling']['accuracy'])}, sampled; {'; '.join(did)}.")
    words = {"likely": "likely to help", "unlikely": "unlikely to help", "harmful": "harmful to"}
    told = [f"{words[one['verdict']]} {one['model']} on {KINDS[one['data']]}" for one in record["misled"]["diagnoses"]]
    return [*said, *([f"Before any training `em-hf diagnose` calls EM {'; '.join(told)}."] if said and told else [])]


def sensitivity(record: Record) -> list[str]:
    """A text for each model."""
    said = []
    for model in dict.fromkeys(row["model"] for row in record["sweep"]):
        rows = [row for row in record["sweep"] if row["model"] == model]
        low, high = (pick(rows, key=lambda row: row["sampled"]["mean"]) for pick in (min, max))
        compared = [row["over_sampling"] for row in rows if row["over_sampling"]]
        better, worse = sum(one["low"] > 0 for one in compared), sum(one["high"] < 0 for one in compared)
        text = (
            f"On {model_title(model)} {better} of {len(rows)} settings are clearly better than sampling and {worse} "
            f"clearly worse, from {share(low['sampled'])} at {point(low)} to {share(high['sampled'])} at {point(high)}."
        )
        if moved := spreads(rows):
            order = sorted(moved, key=lambda name: -moved[name])
            most = [f"{100 * moved[name]:.1f} points along {name}" for name in order]
            text += f" The mean over the other axis moves {listed(most)}."
        said.append(text)
    return said


def spreads(rows: list[Record]) -> dict[str, float]:
    """For each setting that the sweep varies, the largest less the smallest of the mean accuracies at its values."""
    found = {name: means_along(rows, name) for name in dict.fromkeys(key for row in rows for key in row["point"])}
    return {name: max(means.values()) - min(means.values()) for name, means in found.items() if len(means) > 1}


def means_along(rows: list[Record], name: str) -> dict[float, float]:
    """The mean accuracy at each value of a setting, over the values of the other one in its grid."""
    values: dict[float, list[float]] = {}
    for row in rows:
        if name in row["point"]:
            values.setdefault(row["point"][name], []).append(row["sampled"]["mean"])
    return {value: sum(found) / len(found) for value, found in sorted(values.items())}


def point(row: Record) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in row["point"].items())
