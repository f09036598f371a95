"""Finds the examples in every `--help`, in the manual pages and in the README, so that a new one cannot be forgotten.
A line that looks like a command and is no example is an error, or is checked as a synopsis: its subcommand and options
must exist.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .waiting import LabError

Words = tuple[str, ...]


class DocumentationError(LabError):
    """A line of the documentation that cannot be classified; names the document and the line."""


@dataclass(frozen=True)
class Block:
    """Lines that stand together and are meant to be given one after the other, without their comments."""

    source: str
    lines: Words


def read_help(program: str, words: Words = ()) -> dict[Words, str]:
    """The help of a program and of all its subcommands: {(): …, ("enable",): …, ("policy", "list"): …}."""
    text = subprocess.run([program, *words, "--help"], check=True, capture_output=True, text=True).stdout
    helps = {words: text}
    block = re.search(r"^Subcommands:\n((?:  .*\n)+)", text, re.MULTILINE)
    for name in re.findall(r"^  (\S+)", block.group(1), re.MULTILINE) if block else ():
        helps.update(read_help(program, (*words, name)))
    return helps


def blocks_of_help(name: str, helps: Mapping[Words, str]) -> Iterator[Block]:
    """The lines below "Examples:"; every subcommand that has none below it must have some."""
    names = "|".join(sorted({words[0] for words in helps if words}))
    for words, text in helps.items():
        title = " ".join((name, *words, "--help"))
        before, found, examples = text.partition("\nExamples:\n")
        for line in before.splitlines():
            if re.match(rf"\s*killswitch ({names})\b", line) or "sudo " in line:
                raise DocumentationError(f"{title}: '{line}' looks like an example and is not below 'Examples:'")
        if not found and not re.search(r"^Subcommands:$", text, re.MULTILINE):
            raise DocumentationError(f"{title} has no examples")
        lines = examples.splitlines()
        if any(not line.startswith("  ") or line.startswith("   ") for line in lines):
            raise DocumentationError(f"{title}: something else than examples stands below 'Examples:'")
        if lines:
            yield Block(title, tuple(re.split(r"\s{2,}", line.strip())[0] for line in lines))


def blocks_of_manual(name: str, page: str) -> Iterator[Block]:
    """What stands between .nf and .fi (or .EX and .EE) in a manual page."""
    for body in re.findall(r"^\.(?:nf|EX)\n(.*?)^\.(?:fi|EE)$", page, re.MULTILINE | re.DOTALL):
        text = re.sub(r"\\f[BIRP]", "", body).replace("\\-", "-").replace("\\e", "\\")
        yield Block(name, tuple(text.splitlines()))


def synopses_of_manual(page: str) -> Iterator[str]:
    """Commands that stand in bold in the text and in the synopsis."""
    text = page.replace("\\-", "-")
    yield from re.findall(r"^\.B (killswitch .*)$", text, re.MULTILINE)
    yield from re.findall(r'^\.BR? "(killswitch [^"]*)"', text, re.MULTILINE)


def _fences(text: str) -> Iterator[tuple[str, list[str]]]:
    for language, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield language, body.splitlines()


def blocks_of_readme(name: str, text: str) -> Iterator[Block]:
    """The fenced blocks that are marked `sh`."""
    for language, lines in _fences(text):
        if language == "sh":
            yield Block(name, tuple(re.sub(r"\s+#\s.*", "", line) for line in lines if line.strip()))
        elif language:
            raise DocumentationError(f"{name}: a block in a language that is not known: {language}")
        elif strange := [line for line in lines if re.match(r"\s*(sudo|openvpn|nmcli|systemctl) ", line)]:
            raise DocumentationError(f"{name}: '{strange[0]}' looks like an example; its block is not marked `sh`")


def synopses_of_readme(text: str) -> Iterator[str]:
    """Commands in the blocks that are no examples, each on a line (with those that continue it), and in the text."""
    for language, lines in _fences(text):
        if not language:
            joined = re.sub(r"\n\s+(?=\[)", " ", "\n".join(lines))
            yield from re.findall(r"^killswitch .*$", joined, re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`(?:sudo )?(killswitch [^`]+)`", prose))


def check_synopsis(synopsis: str, helps: Mapping[Words, str]) -> None:
    """Its subcommand exists and has its options."""
    words: Words = ()
    rest = synopsis.split()[1:]
    for word in rest:
        if (*words, word) not in helps:
            break
        words = (*words, word)
    if not words and not rest[0].startswith(("[", "-")):
        raise DocumentationError(f"'{synopsis}': there is no such subcommand")
    known = set(re.findall(r"--[a-z][a-z-]*", helps[words]))
    unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", synopsis.split(" -- ")[0])) - known
    if unknown:
        raise DocumentationError(f"'{synopsis}': there is no option {', '.join(sorted(unknown))}")


def simple_commands(line: str) -> list[list[str]]:
    """The commands of a line of shell, divided at |, && and ;, without sudo and what follows a redirection."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    redirected = False
    for token in lexer:
        if token in ("|", "&&", ";"):
            commands.append([])
        elif token == ">":
            redirected = True
        elif redirected:
            redirected = False
        elif token != "sudo" or commands[-1]:
            commands[-1].append(token)
    return commands


def all_blocks(project: Path, binaries: Path) -> list[Block]:
    """Every block of examples of the project; raises DocumentationError when something cannot be classified."""
    helps = read_help(str(binaries / "killswitch"))
    blocks = list(blocks_of_help("killswitch", helps))
    for name in ("killswitch.1", "killswitchd.8"):
        page = (project / "packaging" / "man" / name).read_text()
        blocks += blocks_of_manual(name, page)
        for synopsis in synopses_of_manual(page):
            check_synopsis(synopsis, helps)
    readme = (project / "README.md").read_text()
    blocks += blocks_of_readme("README.md", readme)
    for synopsis in synopses_of_readme(readme):
        check_synopsis(synopsis, helps)
    return blocks
