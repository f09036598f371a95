#!/usr/bin/env python3
"""The pure libraries (base, model, codec, decide) call nothing that reaches the world: no descriptor, file, clock,
environment, process, name service, chance, log or thread. What they call is what their undefined symbols say.

usage: check_purity.py LIBRARY.a… | check_purity.py --self-test CXX_COMPILER
Prints every forbidden symbol with the object that needs it and exits 1.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

FORBIDDEN = set("""
socket socketpair connect bind listen accept accept4 send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg
setsockopt getsockopt getsockname shutdown
open open64 openat openat64 creat close dup dup2 dup3 pipe pipe2 read write pread pwrite readv writev fcntl fcntl64 ioctl
poll ppoll select pselect epoll_create1 epoll_ctl epoll_wait eventfd timerfd_create signalfd inotify_init1 mmap mmap64
fopen fopen64 fdopen freopen fclose fread fwrite fputs fputc puts putchar printf fprintf vprintf vfprintf dprintf perror
popen system getline stdin stdout stderr
stat stat64 lstat lstat64 fstat fstat64 fstatat access faccessat unlink unlinkat rename renameat mkdir rmdir opendir
readdir readdir64 chdir getcwd realpath readlink mkstemp mkostemp
getenv secure_getenv setenv unsetenv putenv environ __environ
time clock gettimeofday clock_gettime clock_nanosleep nanosleep sleep usleep localtime localtime_r mktime tzset strftime
syslog vsyslog openlog
fork vfork execve execv execvp execl execlp posix_spawn posix_spawnp kill raise signal sigaction sigprocmask waitpid
getpid getppid getuid geteuid getgid getegid gethostname uname sysconf syscall
if_nametoindex if_indextoname if_nameindex getifaddrs getaddrinfo gethostbyname gethostbyname2 getservbyname
getpwnam getpwnam_r getpwuid getpwuid_r getgrnam getgrnam_r
rand random srand srandom getrandom arc4random arc4random_uniform
pthread_create dlopen dlsym
""".split())
FORBIDDEN_PATTERN = re.compile(
    r"^(sd_|mnl_socket_|nl_|res_|__res_|std::chrono::_V2::\w+_clock::now|std::filesystem::|std::random_device|"
    r"std::basic_(i|o)?fstream|std::basic_filebuf|std::(cout|cerr|clog|cin)\b|std::thread|fmt::v\d+::v?print)")


def undefined_symbols(library):
    """(object, symbol) of everything that `library` takes from elsewhere."""
    text = subprocess.run(["nm", "--undefined-only", "--demangle", library], check=True, capture_output=True,
                          text=True).stdout
    member = library
    for line in text.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        elif line.strip().startswith(("U ", "w ")):
            yield member, line.strip()[2:].split("@")[0]


def check(libraries):
    found = []
    for library in libraries:
        symbols = list(undefined_symbols(library))
        # Every C++ library needs something of the standard library. One that needs nothing was not read.
        if not symbols:
            found.append(f"{library}: no undefined symbol at all; was it built?")
        for member, symbol in symbols:
            # Fortified variants: __open64_2, __read_chk, __printf_chk
            plain = re.sub(r"^__(\w+?)(_2|_chk)$", r"\1", symbol)
            if symbol in FORBIDDEN or plain in FORBIDDEN or FORBIDDEN_PATTERN.match(symbol):
                found.append(f"{pathlib.Path(library).name}({member}): {symbol}")
    return found


def self_test(compiler):
    """Seeded offenders are found, each by the symbol that gives it away; an innocent one is not."""
    bad = {
        "getenv": '#include <cstdlib>\nconst char* f() { return std::getenv("X"); }\n',
        "clock": "#include <chrono>\nauto f() { return std::chrono::system_clock::now(); }\n",
        "socket": "#include <sys/socket.h>\nint f() { return ::socket(AF_UNIX, SOCK_STREAM, 0); }\n",
        "open": '#include <fcntl.h>\nint f() { return ::open("/", O_RDONLY); }\n',
        "fstream": '#include <fstream>\nvoid f() { std::ofstream{"/tmp/x"} << 1; }\n',
        "journal": 'extern "C" int sd_journal_print(int, const char*, ...);\nvoid f() { sd_journal_print(3, ""); }\n',
        "mnl": 'extern "C" void* mnl_socket_open(int);\nvoid* f() { return mnl_socket_open(0); }\n',
        "stderr": '#include <cstdio>\nvoid f() { std::fputs("x", stderr); }\n',
    }
    good = '#include <string>\nstd::string f(int i) { return std::to_string(i) + std::string(40, \'x\'); }\n'
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)

        def offences(name, text):
            source, output, library = root / f"{name}.cpp", root / f"{name}.o", root / f"{name}.a"
            source.write_text(text, encoding="utf-8")
            subprocess.run([compiler, "-std=c++20", "-O1", "-c", str(source), "-o", str(output)], check=True)
            subprocess.run(["ar", "rcs", str(library), str(output)], check=True)
            return check([str(library)])

        failures += [f"not noticed: {name}" for name, text in bad.items() if not offences(name, text)]
        failures += [f"wrongly noticed: {line}" for line in offences("good", good)]
        (root / "empty.cpp").write_text("", encoding="utf-8")
        if not offences("empty", ""):
            failures.append("not noticed: a library with nothing in it")
    for line in failures:
        print(line)
    return 1 if failures else 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--self-test":
        return self_test(sys.argv[2])
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    found = check(sys.argv[1:])
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
