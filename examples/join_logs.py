"""Make one log, and its curve, of a network that was trained in stages, each from the weights of the one before.

python examples/join_logs.py weights/standard.log.jsonl runs/next/log.jsonl -o weights/standard.log.jsonl
"""

import argparse
from pathlib import Path

from sve2hdr.plot import join_logs, plot_log

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("logs", type=Path, nargs="+", metavar="LOG", help="in order; one that was joined may be the first")
parser.add_argument("-o", "--output", type=Path, required=True, help="*log.jsonl; its *curve.png will lie beside it")
arguments = parser.parse_args()
arguments.output.write_text(join_logs(arguments.logs))
print(plot_log(arguments.output))
