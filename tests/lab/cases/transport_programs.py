"""`enable --transport-program`: which programs are accepted, and that only those root alone can change are trusted."""

import os
import shutil

from lab import addresses as a
from lab.profile import write_profile
from lab.sandbox import STORAGE
from lab.trial import Trial, case

from .transport_common import server_endpoints

_FOLDER = STORAGE / "programs"
_FIRST_PORT = 7100
"""Each program has a port of the server's to itself, all of them pinned."""

_OTHER_USER = 1000


def _program(name: str, mode: int = 0o755, owner: int = 0, folder_mode: int = 0o755, folder_owner: int = 0) -> str:
    """A program that can use the network, in a folder of its own."""
    folder = _FOLDER / name
    folder.mkdir(parents=True)
    program = folder / "busybox"
    shutil.copyfile("/bin/busybox", program)
    for path, bits, uid in ((program, mode, owner), (folder, folder_mode, folder_owner)):
        os.chown(path, uid, uid)
        path.chmod(bits)
    return str(program)


def _untrusted() -> dict[str, str]:
    """What an unprivileged user can replace, by what is wrong with it."""
    link = _FOLDER / "busybox-link"
    link.symlink_to(_program("linked", owner=a.NOBODY))
    through = _FOLDER / "through"
    through.symlink_to(_FOLDER / "open-folder")
    group = _program("group", mode=0o775)
    os.chown(group, 0, _OTHER_USER)
    programs = {
        "writable": _program("writable", mode=0o777),
        "group-writable": group,
        "owned": _program("owned", owner=a.NOBODY),
        "open-folder": _program("open-folder", folder_mode=0o777),
        "sticky-folder": _program("sticky-folder", folder_mode=0o1777),
        "own-folder": _program("own-folder", folder_owner=a.NOBODY),
        "link": str(link),
        "link-to-folder": str(through / "busybox"),
    }
    programs["below-open-folder"] = _program("open-above/within")
    (_FOLDER / "open-above").chmod(0o777)
    return programs


def _connect(trial: Trial, programs: dict[str, str]) -> None:
    """Each of the programs, run by root, tries to reach its endpoint; long enough for two connection requests."""
    running = []
    for number, (name, program) in enumerate(programs.items()):
        command = [program, "nc", "-w", "3", a.SERVER, str(_FIRST_PORT + number)]
        running.append(trial.laptop.node.start(name, command))
    for process in running:
        process.exit_status(15)


@case("transport-program-refused", ipv6=False)
def transport_program_refused(trial: Trial) -> None:
    """`enable --transport-program` trusts no file that an unprivileged user can replace."""
    STORAGE.chmod(0o755)
    good = _program("good")
    programs = {"good": good, **_untrusted()}
    write_profile([f"{a.SERVER} {_FIRST_PORT + number} tcp-client" for number in range(len(programs))])
    trial.oracle.endpoints = frozenset()
    trial.oracle.tcp_probes = {(a.SERVER, _FIRST_PORT + number): name for number, name in enumerate(programs)}
    window = trial.capture.window()
    _connect(trial, programs)
    trial.capture.settle()
    missing = ", ".join(set(programs) - set(window.probes))
    trial.expect(not missing, f"control, no kill switch: all {len(programs)} are seen, but {missing or 'none'}")
    trial.laptop.start_daemon()
    wrong = {
        "not there": str(_FOLDER / "nothing"),
        "a folder": str(_FOLDER),
        "not absolute": "busybox",
        "of a user who does not exist": f"{good}:nosuchuser",
        "of a user that many programs share": f"{good}:nobody",
    }
    for what, program in wrong.items():
        told = trial.laptop.enable("--transport-program", program, expect=(1, 2))
        trial.expect(program.partition(":")[0] in told, f"{what}: {told.strip().splitlines()[0]}")
    trial.expect(not trial.laptop.tables(), "nothing of it has locked the machine")
    _show_untrusted(trial, programs)


def _show_untrusted(trial: Trial, programs: dict[str, str]) -> None:
    """Whether `enable` refuses them or the daemon does: only the good program's packets leave."""
    accepted = []
    for name, program in programs.items():
        told = trial.laptop.enable("--transport-program", program, expect=(0, 1))
        if told.startswith("killswitch: --transport-program"):
            trial.say(f"{name}: {told.strip().splitlines()[0]}")
        else:
            accepted += ["--transport-program", program]
    trial.laptop.enable(*accepted)
    trial.laptop.wait_state("blocked", "connecting")
    trial.oracle.endpoints = frozenset(server_endpoints("tcp", _FIRST_PORT))
    with trial.no_leaks("programs that an unprivileged user can replace, run by root") as window:
        _connect(trial, programs)
    trial.expect(window.allowed["transport"], "the good program's packets are seen on the link")
    assert trial.laptop.daemon is not None
    log, status = trial.laptop.daemon.log(), str(trial.laptop.status())
    for name in programs:
        if name != "good" and programs[name] in accepted:
            named = any(path in log + status for path in (programs[name], os.path.realpath(programs[name])))
            trial.expect(named, f"{name}: log or status names it")
