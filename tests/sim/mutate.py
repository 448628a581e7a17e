#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that the simulator can see: breaks the core in known ways and demands that it notices.

    mutate.py --core DIR --include DIR --out DIR --seeds N [--only NAME] [--cc WORDS] LIBRARY...

A mutant is the core with one piece of text replaced (mutants.txt: the mistakes that real
implementations have made). The piece must occur exactly once, blanks aside, so that a mutant cannot
rot into a no-op when the core changes. Each mutant is compiled, linked with the simulator and run
over some slow worlds (sim_slow.c), then over seeds 1 to N, and must fail; the core as it is goes the
same way and must not.
"""

import argparse
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys


class Mutant:
    def __init__(self, name, file):
        self.name, self.file, self.old, self.new = name, file, [], []


def read_mutants(path):
    """Blocks of `mutant NAME FILE`, then lines `- old` and `+ new`; `#` and blank lines between."""
    mutants = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith('mutant '):
            _, name, file = line.split()
            mutants.append(Mutant(name, file))
        elif line.startswith('- '):
            mutants[-1].old.append(line[2:])
        elif line.startswith('+ ') or line == '+':
            mutants[-1].new.append(line[2:])
        elif line and not line.startswith('#'):
            sys.exit(f'{path}:{number}: not a mutant: {line}')
    return mutants


def mutate(text, mutant):
    words = ' '.join(mutant.old).split()
    pattern = re.compile(r'\s+'.join(re.escape(word) for word in words))
    found = pattern.findall(text)
    if len(found) != 1:
        sys.exit(f'mutant {mutant.name}: its text occurs {len(found)} times in {mutant.file}: '
                 'adapt mutants.txt to the core')
    return pattern.sub(lambda _: '\n'.join(mutant.new), text)


def build(args, name, mutant):
    directory = args.out / name
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(args.core, directory / 'raft' / 'core')
    sources = directory / 'raft' / 'core'
    if mutant:
        path = sources / mutant.file
        path.write_text(mutate(path.read_text(), mutant))
    binary = directory / 'raft-sim'
    subprocess.run([*args.cc.split(), '-std=gnu17', '-D_GNU_SOURCE', '-O2', '-w',
                    f'-I{directory}', f'-I{args.include}', '-o', str(binary),
                    *map(str, sorted(sources.glob('*.c'))),
                    '-Wl,--start-group', *args.libraries, '-Wl,--end-group', '-lpthread'],
                   check=True)
    return binary


def hunt(args, name, mutant):
    """The simulator's last words about this mutant, or None if it found nothing."""
    binary = build(args, name, mutant)
    for worlds in ['--slow', '1-20'], ['--seeds', f'1-{args.seeds}']:
        run = subprocess.run([str(binary), *worlds], capture_output=True, text=True,
                             errors='replace')
        if run.returncode != 0:
            break
    shutil.rmtree(args.out / name)
    if run.returncode == 0:
        return None
    words = [line for line in (run.stderr + run.stdout).splitlines()
             if line.startswith('seed ') or 'Assertion' in line]
    return ' | '.join(words[-2:]) or f'exit status {run.returncode}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--core', type=pathlib.Path, required=True)
    parser.add_argument('--include', type=pathlib.Path, required=True)
    parser.add_argument('--out', type=pathlib.Path, required=True)
    parser.add_argument('--seeds', type=int, required=True)
    parser.add_argument('--cc', default='cc')
    parser.add_argument('--only')
    parser.add_argument('libraries', nargs='+')
    args = parser.parse_args()
    mutants = {m.name: m for m in read_mutants(pathlib.Path(__file__).with_name('mutants.txt'))}
    wanted = {args.only: mutants[args.only]} if args.only else {'unchanged': None, **mutants}
    missed = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        hunts = {name: pool.submit(hunt, args, name, m) for name, m in wanted.items()}
        for name, future in hunts.items():
            words = future.result()
            print(f'{name}: {words or "nothing found"}', flush=True)
            if (words is None) != (wanted[name] is None):
                missed.append(name)
    if missed:
        sys.exit('wrong verdict: ' + ', '.join(missed))


if __name__ == '__main__':
    main()
