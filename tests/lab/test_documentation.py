"""The search for examples finds them, and notices what it cannot classify."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab.documentation import (  # noqa: E402
    Block,
    DocumentationError,
    blocks_of_help,
    blocks_of_manual,
    blocks_of_readme,
    check_synopsis,
    simple_commands,
    synopses_of_manual,
    synopses_of_readme,
)

_HELPS = {
    (): "Usage: killswitch SUBCOMMAND\n\nSubcommands:\n  enable  Lock\n  policy  Policies\n",
    ("enable",): "Options:\n  --config FILE\n\nExamples:\n  sudo killswitch enable --config a.ovpn    comment\n"
    "  killswitch enable | jq '.a | .b'\n",
    ("policy",): "Subcommands:\n  list  List\n",
    ("policy", "list"): "Options:\n  --json\n\nExamples:\n  killswitch policy list\n",
}
_README = """\
Run `sudo killswitch enable
--config a.ovpn` first; `killswitch=off` is another thing.

```sh
sudo killswitch enable    # comment
killswitch policy list
```

```
killswitch enable [--config FILE]…
                  [--seeded]
 a ─► b
```
"""


class Documentation(unittest.TestCase):
    def test_help(self) -> None:
        blocks = list(blocks_of_help("killswitch", _HELPS))
        lines = ("sudo killswitch enable --config a.ovpn", "killswitch enable | jq '.a | .b'")
        expected = [Block("killswitch enable --help", lines)]
        self.assertEqual(blocks, [*expected, Block("killswitch policy list --help", ("killswitch policy list",))])

    def test_help_with_an_example_elsewhere(self) -> None:
        for text in (
            "Usage: x\n\nStart here: sudo killswitch enable\n\nExamples:\n  killswitch enable\n",
            "Usage: x\n  killswitch enable\n\nExamples:\n  killswitch enable\n",
            "Usage: x\n\nExamples:\n  killswitch enable\n\nSee also\n",
            "Usage: x\n",
        ):
            with self.subTest(text), self.assertRaises(DocumentationError):
                list(blocks_of_help("killswitch", {("enable",): text}))

    def test_manual(self) -> None:
        page = ".SH A\n.nf\nkillswitch enable \\-\\-json | jq \\-r .a\n\\fBkillswitch\\fR x\n.fi\n"
        page += ".B killswitch no \\-\\-such\n"
        expected = [Block("page", ("killswitch enable --json | jq -r .a", "killswitch x"))]
        self.assertEqual(list(blocks_of_manual("page", page)), expected)
        self.assertEqual(list(synopses_of_manual(page)), ["killswitch no --such"])

    def test_readme(self) -> None:
        expected = [Block("README", ("sudo killswitch enable", "killswitch policy list"))]
        self.assertEqual(list(blocks_of_readme("README", _README)), expected)
        self.assertEqual(
            list(synopses_of_readme(_README)),
            ["killswitch enable [--config FILE]… [--seeded]", "killswitch enable --config a.ovpn"],
        )
        for text in ("```\nsudo killswitch enable\n```\n", "```console\nkillswitch enable\n```\n"):
            with self.subTest(text), self.assertRaises(DocumentationError):
                list(blocks_of_readme("README", text))

    def test_synopsis(self) -> None:
        check_synopsis("killswitch enable [--config FILE]…", _HELPS)
        check_synopsis("killswitch policy list --json", _HELPS)
        check_synopsis("killswitch enable client.ovpn -- --verb 4", _HELPS)
        for synopsis in ("killswitch enable [--seeded]", "killswitch seeded", "killswitch policy list --config"):
            with self.subTest(synopsis), self.assertRaises(DocumentationError):
                check_synopsis(synopsis, _HELPS)

    def test_simple_commands(self) -> None:
        line = "killswitch policy check a && sudo killswitch explain \"udp -> 1\" | jq '.a | .b' > my.json"
        expected = [["killswitch", "policy", "check", "a"], ["killswitch", "explain", "udp -> 1"], ["jq", ".a | .b"]]
        self.assertEqual(simple_commands(line), expected)


if __name__ == "__main__":
    unittest.main()
