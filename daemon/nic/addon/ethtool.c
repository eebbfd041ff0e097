/*
 * Generic receive offload of a network interface: whether the kernel joins what arrives before anybody sees it. By the
 * ioctl of ethtool(8), in the network namespace of the caller.
 */
#include "addon.h"
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Returns errno, 0 where it went well. */
static int ask(const char *name, struct ethtool_value *value) {
  struct ifreq request = {.ifr_data = (void *)value};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = ioctl(fd, SIOCETHTOOL, &request) == 0 ? 0 : errno;
  close(fd);
  return error;
}

/* receiveOffload(name) -> 0 or 1 */
napi_value receive_offload(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char name[IFNAMSIZ];
  if (!arguments(env, info, 1, argv) || !text_argument(env, argv[0], name, sizeof name)) return NULL;
  struct ethtool_value value = {.cmd = ETHTOOL_GGRO};
  int error = ask(name, &value);
  return error ? throw_errno(env, error, "look at receive offload") : int_result(env, value.data != 0);
}

/* setReceiveOffload(name, on) */
napi_value set_receive_offload(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  char name[IFNAMSIZ];
  int32_t on;
  if (!arguments(env, info, 2, argv) || !text_argument(env, argv[0], name, sizeof name) || !int_argument(env, argv[1], &on))
    return NULL;
  struct ethtool_value value = {.cmd = ETHTOOL_SGRO, .data = on != 0};
  int error = ask(name, &value);
  return error ? throw_errno(env, error, "set receive offload") : NULL;
}
