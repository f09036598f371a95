#!/usr/bin/env python3
"""The include table of the architecture: which folder may know which other one, and which library lives where.

usage: check_includes.py SOURCE_ROOT | check_includes.py --self-test
Prints every include that breaks the table and exits 1; reads text only, so it also sees what no build compiles.
"""
import pathlib
import re
import sys
import tempfile

# A folder may include itself and these.
FOLDERS = {
    "base": set(),
    "model": {"base"},
    "codec": {"base", "model"},
    "decide": {"base", "model"},
    "os": {"base"},
    "sense": {"base", "model", "codec", "os"},
    "enforce": {"base", "model", "codec", "os"},
    "serve": {"base", "model", "codec", "os"},
    "app": {"base", "model", "codec", "decide", "os", "sense", "enforce", "serve"},
}
PURE = {"base", "model", "codec", "decide"}

# First part of <library/…> → the folders that may include it.
LIBRARIES = {
    "libnftnl": {"codec"},
    "libmnl": {"codec", "os"},
    "nlohmann": {"codec", "app"},
    "systemd": {"os", "app"},
    "CLI": {"app"},
    "fmt": set(FOLDERS),
}
# sdbus-c++ belongs to one facade, not to a folder.
BUS_FACADE = re.compile(r"src/os/bus(_sdbus|_connection)?\.[ch]pp$")

# Headers that are of no use without a descriptor, a clock, a process or a thread.
WORLD = {
    "fcntl.h", "poll.h", "unistd.h", "time.h", "ctime", "csignal", "signal.h", "syslog.h", "dirent.h", "ifaddrs.h",
    "netdb.h", "sys/epoll.h", "sys/inotify.h", "sys/ioctl.h", "sys/mman.h", "sys/stat.h", "sys/wait.h",
    "sys/timerfd.h", "sys/eventfd.h", "fstream", "iostream", "filesystem", "thread", "mutex", "atomic",
    "condition_variable", "future", "random",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def violation(path, folder, quote, target):
    """Why `path` (relative to the root, in `folder`) may not include `target`, or None."""
    parts = target.split("/")
    if parts[0] == "killswitch":
        other = parts[1]
        if other not in FOLDERS:
            return f"there is no folder '{other}'"
        if other != folder and other not in FOLDERS[folder]:
            return f"'{folder}' must not know '{other}'"
        return None
    if quote == '"':
        # A private header of the same folder stands beside the file that includes it.
        return "a private header is included by its bare name" if len(parts) > 1 else None
    if parts[0] == "sdbus-c++":
        return None if BUS_FACADE.search(path) else "only os/bus may include sdbus-c++"
    if parts[0] in LIBRARIES and folder not in LIBRARIES[parts[0]]:
        return f"'{folder}' must not use {parts[0]}"
    if folder in PURE and target in WORLD:
        return f"'{folder}' is pure and has no use for <{target}>"
    return None


def check(root):
    """All violations below `root`, and how many includes were looked at."""
    found, looked_at = [], 0
    for folder in FOLDERS:
        for base in (root / "include" / "killswitch" / folder, root / "src" / folder):
            for file in sorted(base.rglob("*")):
                if file.suffix not in (".hpp", ".cpp"):
                    continue
                path = file.relative_to(root).as_posix()
                for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                    match = INCLUDE.match(line)
                    if not match:
                        continue
                    looked_at += 1
                    reason = violation(path, folder, match[1], match[2])
                    if reason:
                        found.append(f"{path}:{number}: {match[2]}: {reason}")
    for base in (root / "include" / "killswitch", root / "src"):
        for entry in sorted(base.iterdir()) if base.is_dir() else []:
            if entry.is_dir() and entry.name not in FOLDERS:
                found.append(f"{entry.relative_to(root)}: a folder that the table does not know")
    return found, looked_at


def self_test():
    """One seeded file for each kind of violation must be found, and a clean tree must pass."""
    bad = {
        "src/decide/a.cpp": '#include "killswitch/os/fd.hpp"\n',
        "src/sense/b.cpp": '#include "killswitch/decide/step.hpp"\n',
        "src/enforce/c.cpp": '#include "killswitch/serve/manager.hpp"\n',
        "include/killswitch/model/d.hpp": '#include "killswitch/codec/names.hpp"\n',
        "src/serve/e.cpp": "#include <sdbus-c++/sdbus-c++.h>\n",
        "src/app/f.cpp": "# include <sdbus-c++/sdbus-c++.h>\n",
        "src/decide/g.cpp": "#include <libnftnl/rule.h>\n",
        "src/model/h.cpp": "#include <nlohmann/json.hpp>\n",
        "src/codec/i.cpp": "  #include <fstream>\n",
        "src/sense/j.cpp": '#include "../os/bus_sdbus.hpp"\n',
        "src/utils/k.cpp": "",
    }
    good = {
        "src/os/bus.cpp": "#include <sdbus-c++/sdbus-c++.h>\n#include <poll.h>\n",
        "src/decide/step.cpp": '#include "killswitch/model/world.hpp"\n#include "step_parts.hpp"\n#include <map>\n',
        "src/app/daemon.cpp": '#include "killswitch/decide/step.hpp"\n#include "killswitch/sense/links.hpp"\n',
    }
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for path, text in {**bad, **good}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        found, _ = check(root)
    missed = [path for path in bad if not any(line.startswith((path, "src/utils:")) if "utils" in path
                                              else line.startswith(path + ":") for line in found)]
    wrong = [line for line in found if any(line.startswith(path + ":") for path in good)]
    for path in missed:
        print(f"not noticed: {path}")
    for line in wrong:
        print(f"wrongly noticed: {line}")
    return 1 if missed or wrong or len(found) != len(bad) else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    found, looked_at = check(pathlib.Path(sys.argv[1]))
    for line in found:
        print(line)
    if looked_at == 0:
        print("no include was found: is this the source tree?")
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
