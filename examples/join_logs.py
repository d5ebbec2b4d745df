"""Make one log, and its curve, of a network that was trained in stages, each from the weights of the one before.

python examples/join_logs.py weights/standard.log.jsonl runs/next/log.jsonl -o weights/standard.log.jsonl

Prints what each stage took, and its loss as means of the first and of the last quarter of its lines.
"""

import argparse
import itertools
import json
from pathlib import Path

from sve2hdr.errors import Sve2HdrError
from sve2hdr.training.plot import plot_log


def join_logs(logs: list[Path]) -> str:
    """Return the lines of logs of one network that was trained in stages, the next from the weights of the last.

    Steps, megapixels and seconds go on counting, and `stage` counts from 1. A log that was joined before has several.
    Raises Sve2HdrError where a log holds no record.
    """
    lines: list[str] = []
    done = {"stage": 0, "step": 0, "megapixels": 0.0, "seconds": 0.0}  # in the logs before
    for log in logs:
        records = [{"stage": 1} | json.loads(line) for line in log.read_text().splitlines() if line]
        if not records:
            raise Sve2HdrError(f"{log}: holds no record")
        for record in records:
            record.update({name: record[name] + count for name, count in done.items() if name in record})
            lines.append(json.dumps(record) + "\n")
        done = {name: records[-1].get(name, count) for name, count in done.items()}
    return "".join(lines)


def main() -> None:
    """Join, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "logs", type=Path, nargs="+", metavar="LOG", help="in order; one that was joined may be the first"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="*log.jsonl; its *curve.png will lie beside it"
    )
    arguments = parser.parse_args()
    try:
        joined = join_logs(arguments.logs)
    except Sve2HdrError as error:
        parser.error(str(error))
    arguments.output.write_text(joined)

    done = {"step": 0, "megapixels": 0.0, "seconds": 0.0}
    for stage, of_stage in itertools.groupby(map(json.loads, joined.splitlines()), lambda record: record["stage"]):
        records = list(of_stage)
        losses, quarter = [record["loss"] for record in records], max(1, len(records) // 4)
        first, last = (sum(some) / quarter for some in (losses[:quarter], losses[-quarter:]))
        steps, megapixels, seconds = (records[-1][name] - before for name, before in done.items())
        took = f"{steps:,} steps, {megapixels:,.0f} MP, {seconds / 3600:.2f} h"
        print(f"stage {stage}: {took}, loss {first:.4f} to {last:.4f}")
        done = {name: records[-1][name] for name in done}
    print(plot_log(arguments.output))


if __name__ == "__main__":
    main()
