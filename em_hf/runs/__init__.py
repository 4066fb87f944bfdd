"""The run folder: its file names, the records in its files, and the only code that writes and reads them.

    runs/NAME/
      run.json               RunFacts: method, settings, versions, state
      log.jsonl              LogLine: one per optimizer step
      results.json           Results: measurements of the model before and after training
      probe.jsonl            Reading: what the probe measured during training
      checkpoints/           the trainer's own, beside `best/` and `guard.jsonl` (Reading)
      diagnose.json          Diagnosis, by `em-hf diagnose`
      */eval.json            Evaluation, by `em-hf eval`, beside `answers/STRATEGY.jsonl` (Answer)
      model.safetensors ...  the trained model, once the run is finished

Every file is replaced whole or not at all, or grows by whole lines. Reading returns a record or raises a one-line
`RunFileError`. The module imports no heavy library.
"""

from em_hf.runs.files import (
    RunFileError,
    append_lines,
    drop_lines_after,
    read_json,
    read_lines,
    read_record,
    to_json,
    write_file,
    write_json,
    write_lines,
)
from em_hf.runs.folder import (
    ANSWERS_FOLDER,
    BEST_FOLDER,
    CHECKPOINTS_FOLDER,
    DIAGNOSIS_FILE,
    EVALUATION_FILE,
    GUARD_FILE,
    LOG_FILE,
    PROBE_FILE,
    RESULTS_FILE,
    RUN_FILE,
    Run,
    check_folder,
    check_steps,
    diagnosis,
    evaluations,
    holds_run,
    is_finished,
    newest_run,
    read_facts,
    read_run,
    unfinished,
)
from em_hf.runs.records import (
    Answer,
    Benchmark,
    ComputeFacts,
    DatasetFacts,
    Diagnosis,
    Evaluation,
    EvaluationRow,
    Figure,
    LogLine,
    Reading,
    ResultRow,
    Results,
    RunFacts,
    Status,
    Verdict,
    now,
    versions,
)

__all__ = [
    "ANSWERS_FOLDER",
    "BEST_FOLDER",
    "CHECKPOINTS_FOLDER",
    "DIAGNOSIS_FILE",
    "EVALUATION_FILE",
    "GUARD_FILE",
    "LOG_FILE",
    "PROBE_FILE",
    "RESULTS_FILE",
    "RUN_FILE",
    "Answer",
    "Benchmark",
    "ComputeFacts",
    "DatasetFacts",
    "Diagnosis",
    "Evaluation",
    "EvaluationRow",
    "Figure",
    "LogLine",
    "Reading",
    "ResultRow",
    "Results",
    "Run",
    "RunFacts",
    "RunFileError",
    "Status",
    "Verdict",
    "append_lines",
    "check_folder",
    "check_steps",
    "diagnosis",
    "drop_lines_after",
    "evaluations",
    "holds_run",
    "is_finished",
    "newest_run",
    "now",
    "read_facts",
    "read_json",
    "read_lines",
    "read_record",
    "read_run",
    "to_json",
    "unfinished",
    "versions",
    "write_file",
    "write_json",
    "write_lines",
]
