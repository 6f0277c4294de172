#!/usr/bin/env python3
"""Say whether the installed packages satisfy a requirements file.

Exit code 0: they do. 1: they do not; what is missing is printed. Knows the
forms that requirements.txt uses: Name>=1.2,<3 and comments.
"""
import re
import sys
from importlib.metadata import PackageNotFoundError, version

COMPARE = {
    '>=': lambda have, want: have >= want,
    '<=': lambda have, want: have <= want,
    '==': lambda have, want: have == want,
    '!=': lambda have, want: have != want,
    '>': lambda have, want: have > want,
    '<': lambda have, want: have < want,
}


def numbers(text):
    """'3.2.25+dfsg' as (3, 2, 25, 0): compared number by number."""
    found = [int(part) for part in re.match(r'[\d.]*', text).group().split('.') if part]
    return tuple((found + [0, 0, 0, 0])[:4])


def missing(line):
    """Why a requirement does not hold; '' when it does or the line holds none."""
    line = line.split('#', 1)[0].strip()
    if not line:
        return ''
    match = re.match(r'^([A-Za-z0-9._-]+)\s*(.*)$', line)
    name, rules = match.groups()
    try:
        have = version(name)
    except PackageNotFoundError:
        return '%s is not installed' % name
    for rule in filter(None, (rule.strip() for rule in rules.split(','))):
        compare, want = re.match(r'^(>=|<=|==|!=|>|<)\s*(.+)$', rule).groups()
        if not COMPARE[compare](numbers(have), numbers(want)):
            return '%s is %s, wanted %s' % (name, have, rule)
    return ''


def main(path):
    with open(path, encoding='utf-8') as lines:
        problems = list(filter(None, map(missing, lines)))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else 'requirements.txt'))
