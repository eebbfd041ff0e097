/*
 * The N-API face of polder's software NIC: the list of functions that JavaScript sees, and how arguments and errors
 * cross. Nothing here decides about a packet. Built by one gcc line against Node's own headers (scripts/build); one
 * binary serves every Node from 20 on. Context-aware: main thread and worker each load it, no mutable globals.
 */
#define _GNU_SOURCE
#include "addon.h"
#include <stdio.h>
#include <string.h>

napi_value throw_errno(napi_env env, int error, const char *operation) {
  const char *name = strerrorname_np(error);
  char text[256];
  snprintf(text, sizeof text, "%s: %s (%s)", operation, strerror(error), name ? name : "?");
  napi_value code, message, object, number, word;
  napi_create_string_utf8(env, name ? name : "EUNKNOWN", NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, code, message, &object);
  napi_create_int32(env, error, &number);
  napi_set_named_property(env, object, "errno", number);
  napi_create_string_utf8(env, operation, NAPI_AUTO_LENGTH, &word);
  napi_set_named_property(env, object, "operation", word);
  napi_throw(env, object);
  return NULL;
}

bool arguments(napi_env env, napi_callback_info info, size_t want, napi_value *values) {
  size_t count = want;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  if (count >= want) return true;
  napi_throw_type_error(env, "EINVAL", "too few arguments");
  return false;
}

bool int_argument(napi_env env, napi_value value, int32_t *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, "EINVAL", "an argument that must be an integer is not");
  return false;
}

bool text_argument(napi_env env, napi_value value, char *out, size_t size) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length < size &&
      napi_get_value_string_utf8(env, value, out, size, &length) == napi_ok && strlen(out) == length)
    return true;
  napi_throw_type_error(env, "EINVAL", "an argument that must be a text is not, or is too long");
  return false;
}

bool bytes_argument(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  bool typed = false, view = false;
  void *at = NULL;
  napi_is_typedarray(env, value, &typed);
  if (typed) {
    napi_typedarray_type type;
    size_t elements;
    napi_get_typedarray_info(env, value, &type, &elements, &at, NULL, NULL);
    static const uint8_t width[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    *length = elements * width[type];
  } else {
    napi_is_dataview(env, value, &view);
    if (view) napi_get_dataview_info(env, value, length, &at, NULL, NULL);
  }
  *data = at;
  if (typed || view) return true;
  napi_throw_type_error(env, "EINVAL", "an argument that must be a typed array is not");
  return false;
}

napi_value int_result(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback call;
  } functions[] = {
      {"openTun", open_tun},
      {"openNetlink", open_netlink},
      {"sendMessage", send_message},
      {"receiveMessage", receive_message},
      {"takeNotices", take_notices},
      {"openUnderlay", open_underlay},
      {"probeOffloads", probe_offloads},
      {"socketDrops", socket_drops},
      {"openEvent", open_event},
      {"signalEvent", signal_event},
      {"closeFd", close_fd},
      {"createNetns", create_netns},
      {"deleteNetns", delete_netns},
      {"flock", lock_file},
      {"receiveOffload", receive_offload},
      {"setReceiveOffload", set_receive_offload},
      {"connectMessages", connect_messages},
      {"sendDescriptors", send_descriptors},
      {"receiveDescriptors", receive_descriptors},
      {"notifySocket", notify_socket},
      {"isConnected", is_connected},
      {"isTun", is_tun},
      {"isUnderlay", is_underlay},
      {"openLink", open_link},
      {"joinGroup", join_group},
      {"watchReadable", watch_readable},
      {"unwatch", unwatch},
      {"mapFile", map_file},
      {"reserveFile", reserve_file},
      {"releaseMemory", release_memory},
      {"dataplaneCreate", dataplane_create},
      {"dataplaneSetSenders", dataplane_set_senders},
      {"dataplaneSetPort", dataplane_set_port},
      {"dataplaneSetPeers", dataplane_set_peers},
      {"dataplaneReceive", dataplane_receive},
      {"dataplaneSend", dataplane_send},
      {"checksum", checksum_of},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
