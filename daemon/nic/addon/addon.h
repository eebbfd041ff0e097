/* What the files of the addon share. Every function that JavaScript sees is listed in addon.c. */
#pragma once
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Throws an Error with .code (errno's name), .errno and .operation; returns NULL for the caller to hand on. */
napi_value throw_errno(napi_env env, int error, const char *operation);

/* Reads up to `want` arguments; false (and a thrown TypeError) where fewer came. */
bool arguments(napi_env env, napi_callback_info info, size_t want, napi_value *values);
bool int_argument(napi_env env, napi_value value, int32_t *out);
bool text_argument(napi_env env, napi_value value, char *out, size_t size);
/* The bytes of any typed array or DataView; they stay valid while JavaScript holds the array. */
bool bytes_argument(napi_env env, napi_value value, uint8_t **data, size_t *length);
napi_value int_result(napi_env env, int32_t value);

#define FUNCTION(name) napi_value name(napi_env env, napi_callback_info info)
/* control.c: the main thread's work */
FUNCTION(open_tun);
FUNCTION(open_netlink);
FUNCTION(send_message);
FUNCTION(receive_message);
FUNCTION(take_notices);
FUNCTION(open_underlay);
FUNCTION(probe_offloads);
FUNCTION(socket_drops);
FUNCTION(open_event);
FUNCTION(signal_event);
FUNCTION(close_fd);
FUNCTION(create_netns);
FUNCTION(delete_netns);
FUNCTION(lock_file);
/* ethtool.c */
FUNCTION(receive_offload);
FUNCTION(set_receive_offload);
/* handover.c: descriptors from one process to the next */
FUNCTION(connect_messages);
FUNCTION(send_descriptors);
FUNCTION(receive_descriptors);
FUNCTION(notify_socket);
FUNCTION(is_connected);
FUNCTION(is_tun);
FUNCTION(is_underlay);
/* link.c: frames of a link */
FUNCTION(open_link);
FUNCTION(join_group);
FUNCTION(watch_readable);
FUNCTION(unwatch);
/* memory.c */
FUNCTION(map_file);
FUNCTION(release_memory);
FUNCTION(reserve_file);
/* dataplane.c: the worker's work */
FUNCTION(dataplane_create);
FUNCTION(dataplane_set_senders);
FUNCTION(dataplane_set_port);
FUNCTION(dataplane_set_peers);
FUNCTION(dataplane_receive);
FUNCTION(dataplane_send);
FUNCTION(checksum_of);
