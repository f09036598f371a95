#!/usr/bin/env python3
"""The manual pages and the completions know every subcommand and option that `--help` prints; completions know nothing
else. Completions of bash are run, the others (whose shells need not be here) are read.

usage: check_command_line.py BIN_DIR PACKAGING_DIR [--self-test]
Prints what is missing or too much and exits 1.
"""
import pathlib
import re
import subprocess
import sys


def read_help(program, words=()):
    """{(): {options}, ("enable",): {options}, …} of a program and all of its subcommands."""
    text = subprocess.run([program, *words, "--help"], check=True, capture_output=True, text=True).stdout
    left = [line[2:].split("  ")[0] for line in text.splitlines() if re.match(r"  -", line)]
    known = {words: set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(left).replace(",", " ")))}
    block = re.search(r"^Subcommands:\n((?:  .*\n)+)", text, re.MULTILINE)
    for name in re.findall(r"^  (\S+)", block.group(1), re.MULTILINE) if block else ():
        known.update(read_help(program, (*words, name)))
    return known


def children(known, words):
    return {path[-1] for path in known if path[:-1] == words and path}


def check_page(page, name, known):
    """A section `.SS name words` for every subcommand, with its options; those that all have stand in OPTIONS."""
    text = re.sub(r"\\f[BIR]", "", page.replace("\\-", "-"))
    sections = dict(re.findall(r"^\.S[SH] (.*)\n((?:(?!\.S[SH] ).*\n?)*)", text, re.MULTILINE))
    common = sections.get("OPTIONS", "")
    for words, options in known.items():
        title = " ".join((name, *words))
        if words and title not in sections:
            yield f"the manual page has no section '.SS {title}'"
        for option in sorted(options):
            if not re.search(rf"(?<![\w-]){option}(?![\w-])", common + sections.get(title, "")):
                yield f"the manual page does not tell of {title} {option}"


def compare(what, words, offered, known):
    title = " ".join(("killswitch", *words))
    for word in sorted(known - offered):
        yield f"{what} does not offer '{title} {word}'"
    for word in sorted(offered - known):
        yield f"{what} offers '{title} {word}', which does not exist"


def long_options(options):
    return {option for option in options if option.startswith("--")}


def ask_bash(script, words, word):
    code = '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _killswitch; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "--norc", "-c", code, "bash", str(script), "killswitch", *words, word],
                          check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def check_bash(script, known):
    for words, options in known.items():
        yield from compare(script.name, words, ask_bash(script, words, "--") - {"--"}, long_options(options))
        if subcommands := children(known, words):
            offered = {word for word in ask_bash(script, words, "") if not word.startswith("-")}
            yield from compare(script.name, words, offered, subcommands)


def check_zsh(text, known):
    """One function a subcommand: _killswitch_policy_list."""
    for words, options in known.items():
        block = re.search(rf"^{'_'.join(('_killswitch', *words))}\(\) {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
        body = block.group(1) if block else ""
        offered = set(re.findall(r"^\s*'(?:\([^)]*\))?\*?(--[a-z-]+)", body, re.MULTILINE))
        offered |= {"--help"} if "{-h,--help}" in body else set()
        yield from compare("_killswitch", words, offered, long_options(options))
        offered = set(re.findall(r"^\s*'([a-z]\w*):", body, re.MULTILINE))
        yield from compare("_killswitch", words, offered if children(known, words) else set(), children(known, words))


def check_fish(text, known):
    """Each line says by its condition (-n) which subcommand it is for."""
    for words, options in known.items():
        condition = f"'__killswitch_in {' '.join(words)}(?=[';])" if words else r"__fish_use_subcommand\b"
        lines = re.findall(rf"^complete -c killswitch -n {condition}(.*)$", text, re.MULTILINE)
        offered = {f"--{name}" for line in lines for name in re.findall(r" -l (\S+)", line)}
        if re.search(r"^complete -c killswitch -s h -l help", text, re.MULTILINE):
            offered.add("--help")
        yield from compare("killswitch.fish", words, offered, long_options(options))
        offered = {name for line in lines for name in re.findall(r" -a (\w+)", line)}
        yield from compare("killswitch.fish", words, offered, children(known, words))


def check_all(packaging, command, daemon):
    completions = packaging / "completions"
    return {
        "killswitch.1": list(check_page((packaging / "man/killswitch.1").read_text(), "killswitch", command)),
        "killswitchd.8": list(check_page((packaging / "man/killswitchd.8").read_text(), "killswitchd", daemon)),
        "killswitch.bash": list(check_bash(completions / "killswitch.bash", command)),
        "_killswitch": list(check_zsh((completions / "_killswitch").read_text(), command)),
        "killswitch.fish": list(check_fish((completions / "killswitch.fish").read_text(), command)),
    }


def self_test(packaging, command, daemon):
    """A seeded option of each subcommand, a seeded subcommand at each level, and an option taken away are noticed."""
    untouched = check_all(packaging, command, daemon)
    failures = []

    def expect(what, files, seeded_command, seeded_daemon=daemon):
        found = check_all(packaging, seeded_command, seeded_daemon)
        failures.extend(f"not noticed in {file}: {what}" for file in files if len(found[file]) <= len(untouched[file]))

    ours = ("killswitch.1", "killswitch.bash", "_killswitch", "killswitch.fish")
    for words, options in command.items():
        title = " ".join(words)
        expect(f"{title} --seeded", ours, {**command, words: options | {"--seeded"}})
        if children(command, words) or not words:
            expect(f"{title} seeded", ours, {**command, (*words, "seeded"): {"--help"}})
        for option in long_options(options) - {"--help"}:
            expect(f"{title} without {option}", ours[1:], {**command, words: options - {option}})
    expect("--seeded", ("killswitchd.8",), command, {(): daemon[()] | {"--seeded"}})
    return failures


def main(arguments):
    selves = "--self-test" in arguments
    binaries, packaging = (pathlib.Path(word) for word in arguments if word != "--self-test")
    command, daemon = read_help(str(binaries / "killswitch")), read_help(str(binaries / "killswitchd"))
    if len(command) < 2 or not daemon[()]:
        print("--help was not understood: no subcommand or no option was found in it")
        return 1
    problems = (self_test(packaging, command, daemon) if selves
                else [line for lines in check_all(packaging, command, daemon).values() for line in lines])
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
