/* udp ADDRESS PORT echo|send < FILE: a file in datagrams that fit a frame, which the shell's own tools cannot do.
   echo: waits for each datagram to come back, sends it again if it does not, and writes what came back to standard output.
   send: in small lots with pauses, as nobody says how fast is too fast. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { DATAGRAM = 1400, LOT = 8, PAUSE_MICROSECONDS = 2000, TRIES = 10 };

static int fail(const char *what) {
  perror(what);
  return 1;
}

int main(int count, char **words) {
  if (count != 4) return 2;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[2]))};
  if (inet_pton(AF_INET, words[1], &to.sin_addr) != 1) return 2;
  int echo = strcmp(words[3], "echo") == 0;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct timeval patience = {.tv_sec = 0, .tv_usec = 300000};
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return fail("connect");
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  static char sent[DATAGRAM], got[2 * DATAGRAM];
  size_t length;
  for (unsigned n = 1; (length = fread(sent, 1, sizeof sent, stdin)) > 0; n++) {
    int tries = 0;
    for (;;) {
      if (send(fd, sent, length, 0) < 0) return fail("send");
      if (!echo) break;
      if (recv(fd, got, sizeof got, 0) == (ssize_t)length) break;
      if (++tries == TRIES) return fail("no echo");
    }
    if (echo) fwrite(got, 1, length, stdout);
    else if (n % LOT == 0) usleep(PAUSE_MICROSECONDS);
  }
  return 0;
}
