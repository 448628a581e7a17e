#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that the scripts can fail: breaks one rule of the core for each, and demands a difference.

    mutate.py --core DIR --include DIR --out DIR [--only SCRIPT] [--cc WORDS] LIBRARY...

mutants.txt is in the simulator's format (sim/mutate.py); a mutant's name is the script that must
catch it. Every script needs one. Only the changed file is compiled: linked before the core's
library, it stands in for the file of its name.
"""

import argparse
import concurrent.futures
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'sim'))
from mutate import mutate, read_mutants  # noqa: E402


def survives(args, number, mutant):
    """Whether the script passes although the rule is broken."""
    source = args.out / f'{number}-{mutant.file}'
    binary = args.out / f'{number}-run-script'
    source.write_text(mutate((args.core / mutant.file).read_text(), mutant))
    subprocess.run([*args.cc.split(), '-std=gnu17', '-D_GNU_SOURCE', '-w', f'-I{args.include}',
                    '-o', str(binary), str(source), '-Wl,--start-group', *args.libraries,
                    '-Wl,--end-group', '-lpthread'], check=True)
    run = subprocess.run([str(binary), f'{mutant.name}.txt'], cwd=HERE, capture_output=True,
                         text=True, errors='replace')
    binary.unlink()
    source.unlink()
    words = [line.strip() for line in run.stderr.splitlines() if line.strip()]
    print(f'{mutant.name}: {" | ".join(words[:3]) or "NOT CAUGHT"}', flush=True)
    return run.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--core', type=pathlib.Path, required=True)
    parser.add_argument('--include', type=pathlib.Path, required=True)
    parser.add_argument('--out', type=pathlib.Path, required=True)
    parser.add_argument('--cc', default='cc')
    parser.add_argument('--only')
    parser.add_argument('libraries', nargs='+')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    mutants = read_mutants(HERE / 'mutants.txt')
    scripts = {str(path.relative_to(HERE))[:-4] for path in HERE.glob('*/*.txt')}
    missing = sorted(scripts - {m.name for m in mutants})
    if missing:
        sys.exit('without a mutant: ' + ', '.join(missing))
    wanted = [m for m in mutants if args.only in (None, m.name)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        survivors = list(pool.map(lambda k: survives(args, k, wanted[k]), range(len(wanted))))
    left = [m.name for m, lived in zip(wanted, survivors) if lived]
    if left:
        sys.exit('not caught: ' + ', '.join(left))


if __name__ == '__main__':
    main()
