/*
 * Sends what no honest stack would: IP packets as hex on stdin, one a line.
 *
 *   raw-packet device NAME [VNET]    through a packet socket on a device without link-layer addresses (a TUN); VNET is a
 *                                    virtio header of 10 bytes in hex, put before each
 *   raw-packet ip                    by the host's routes, with whatever source address the packet names
 *
 * Further words: `seconds N` sends all of them again and again, and `vary A B` counts the 16-bit number at A up and the
 * one at B down each time, so that checksums stay right. Prints how many were sent and how many were refused.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PACKETS_MAX = 4096, PACKET_BYTES_MAX = 65600, VNET_BYTES = 10 };

static uint8_t *packets[PACKETS_MAX];
static size_t lengths[PACKETS_MAX], count, vnet_bytes;
static uint8_t vnet[VNET_BYTES];

static size_t from_hex(const char *text, uint8_t *out, size_t max) {
  size_t length = 0;
  unsigned byte;
  for (; length < max && sscanf(text, "%2x", &byte) == 1; text += 2) out[length++] = (uint8_t)byte;
  return length;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void add16(uint8_t *at, int step) {
  uint16_t value = (uint16_t)((at[0] << 8 | at[1]) + step);
  at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value;
}

static int open_device(const char *name) {
  int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
  if (vnet_bytes && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0) perror("PACKET_VNET_HDR"), exit(1);
  struct sockaddr_ll local = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};
  if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof local) != 0) perror(name), exit(1);
  return fd;
}

static ssize_t send_packet(int fd, const char *device, const uint8_t *packet, size_t length) {
  int is_v6 = packet[vnet_bytes] >> 4 == 6;
  if (device) {
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(device),
                             .sll_protocol = htons(is_v6 ? ETH_P_IPV6 : ETH_P_IP)};
    return sendto(fd, packet, length, 0, (struct sockaddr *)&to, sizeof to);
  }
  struct sockaddr_in to = {.sin_family = AF_INET};
  memcpy(&to.sin_addr, packet + 16, 4);
  return sendto(fd, packet, length, 0, (struct sockaddr *)&to, sizeof to);
}

int main(int argc, char **argv) {
  const char *device = argc > 2 && strcmp(argv[1], "device") == 0 ? argv[2] : NULL;
  double seconds = 0;
  long up = -1, down = -1;
  for (int i = device ? 3 : 2; i < argc; i++) {
    if (strcmp(argv[i], "seconds") == 0 && i + 1 < argc) seconds = atof(argv[++i]);
    else if (strcmp(argv[i], "vary") == 0 && i + 2 < argc) up = atol(argv[i + 1]), down = atol(argv[i + 2]), i += 2;
    else vnet_bytes = from_hex(argv[i], vnet, VNET_BYTES);
  }
  static char line[2 * PACKET_BYTES_MAX];
  while (count < PACKETS_MAX && fgets(line, sizeof line, stdin)) {
    packets[count] = malloc(strlen(line) / 2 + VNET_BYTES + 1);
    memcpy(packets[count], vnet, vnet_bytes);
    lengths[count] = vnet_bytes + from_hex(line, packets[count] + vnet_bytes, PACKET_BYTES_MAX);
    count++;
  }
  int fd = device ? open_device(device) : socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) perror("socket"), exit(1);
  unsigned long sent = 0, refused = 0;
  double end = now() + seconds;
  do {
    for (size_t i = 0; i < count; i++) {
      if (send_packet(fd, device, packets[i], lengths[i]) >= 0) sent++;
      else refused++;
      if (up >= 0) add16(packets[i] + vnet_bytes + up, 1), add16(packets[i] + vnet_bytes + down, -1);
    }
  } while (now() < end);
  return printf("{\"sent\":%lu,\"refused\":%lu}\n", sent, refused) < 0;
}
