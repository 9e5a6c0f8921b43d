/*
 * libpcap's interpreter over packets in memory. Arguments: a capture file, then expressions. For each line
 * "EXPRESSION-NUMBER ROUNDS" on standard input it filters all packets so often and answers
 * {"nanoseconds": …, "matched": …} on a line, matched being the count of one round.
 */
#include <pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv) {
  char error[PCAP_ERRBUF_SIZE];
  pcap_t *capture = argc > 1 ? pcap_open_offline(argv[1], error) : NULL;
  if (capture == NULL) {
    fprintf(stderr, "cannot read the capture\n");
    return 1;
  }
  struct bpf_program *programs = calloc(argc, sizeof *programs);
  for (int i = 2; i < argc; i++) {
    if (pcap_compile(capture, &programs[i - 2], argv[i], 1, 0) != 0) {
      fprintf(stderr, "%s: %s\n", argv[i], pcap_geterr(capture));
      return 1;
    }
  }
  size_t count = 0, room = 0;
  struct pcap_pkthdr *headers = NULL, *header;
  const u_char **packets = NULL, *bytes;
  while (pcap_next_ex(capture, &header, &bytes) == 1) {
    if (count == room) {
      room = room ? 2 * room : 1024;
      headers = realloc(headers, room * sizeof *headers);
      packets = realloc(packets, room * sizeof *packets);
    }
    headers[count] = *header;
    packets[count++] = memcpy(malloc(header->caplen), bytes, header->caplen);
  }
  int expression;
  long rounds;
  while (scanf("%d %ld", &expression, &rounds) == 2) {
    long matched = 0;
    double start = now();
    for (long round = 0; round < rounds; round++)
      for (size_t i = 0; i < count; i++)
        if (pcap_offline_filter(&programs[expression], &headers[i], packets[i]) != 0) matched++;
    printf("{\"nanoseconds\": %.0f, \"matched\": %ld}\n", now() - start, matched / rounds);
    fflush(stdout);
  }
  return 0;
}
