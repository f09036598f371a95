// Which system calls on other processes does the sandbox of a unit allow? Makes each of them on this process itself,
// where they need no privilege, and prints the result: `NAME: ok`, or `NAME: ` and the error. Static, so that it runs
// in any Debian.
#include <linux/kcmp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

void print(const char* name, long result) {
  std::printf("%s: %s\n", name, result < 0 ? std::strerror(errno) : "ok");
}

}  // namespace

int main() {
  const auto self = ::getpid();
  char from = 'x';
  char to = 0;
  iovec local{&to, 1};
  iovec remote{&from, 1};
  print("process_vm_readv", ::syscall(SYS_process_vm_readv, self, &local, 1UL, &remote, 1UL, 0UL));
  print("process_vm_writev", ::syscall(SYS_process_vm_writev, self, &local, 1UL, &remote, 1UL, 0UL));
  print("kcmp", ::syscall(SYS_kcmp, self, self, KCMP_FILE, 1UL, 1UL));
  const auto handle = ::syscall(SYS_pidfd_open, self, 0U);
  print("pidfd_open", handle);
  print("pidfd_getfd", ::syscall(SYS_pidfd_getfd, handle, 1, 0U));
  print("ptrace", ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
  return 0;
}
