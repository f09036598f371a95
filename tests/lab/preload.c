/* Preloaded into OpenVPN by an unprivileged user: what it sends comes from a process that runs the trusted program.
 * PRELOAD_TARGET is "ADDRESS PORT SOURCE-PORT". */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void send_probes(void) {
  char address[64];
  unsigned port = 0;
  unsigned source = 0;
  const char* target = getenv("PRELOAD_TARGET");
  if (target == NULL || sscanf(target, "%63s %u %u", address, &port, &source) != 3) {
    return;
  }
  const struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons((unsigned short)source)};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  inet_pton(AF_INET, address, &to.sin_addr);
  const int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
  bind(socket_fd, (const struct sockaddr*)&from, sizeof from);
  for (int number = 0; number < 20; ++number) {
    const char probe[] = "ksprobe-preloaded;";
    sendto(socket_fd, probe, sizeof probe, 0, (const struct sockaddr*)&to, sizeof to);
    usleep(50000);
  }
}
