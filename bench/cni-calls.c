/*
 * Calls a CNI plugin as a container runtime does, once for each network namespace, one after the other, and times each
 * call: from before the plugin is started until it has ended and its answer was read.
 *
 *   cni-calls COMMAND PLUGIN CONFIG NETNS…        -> [{"us":…,"result":…},…]
 *
 * CONFIG is a file that becomes the plugin's stdin; the container id is the last part of NETNS's path.
 */
#define _GNU_SOURCE
#include "program.h"
#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>
#include <sys/wait.h>

enum { ANSWER_BYTES = 64 << 10, VARIABLE_BYTES = 512 };

static char answer[ANSWER_BYTES];

static void read_answer(int fd) {
  size_t length = 0;
  ssize_t got;
  while ((got = read(fd, answer + length, sizeof answer - 1 - length)) > 0) length += (size_t)got;
  while (length > 0 && answer[length - 1] == '\n') length--;
  answer[length] = 0;
}

/* Microseconds; the plugin's stdout is then in `answer`. */
static double call(const char *command, char *plugin, const char *config, const char *netns) {
  char variables[6][VARIABLE_BYTES], plugin_copy[VARIABLE_BYTES], netns_copy[VARIABLE_BYTES];
  snprintf(plugin_copy, sizeof plugin_copy, "%s", plugin);
  snprintf(netns_copy, sizeof netns_copy, "%s", netns);
  snprintf(variables[0], VARIABLE_BYTES, "CNI_COMMAND=%s", command);
  snprintf(variables[1], VARIABLE_BYTES, "CNI_CONTAINERID=%s", basename(netns_copy));
  snprintf(variables[2], VARIABLE_BYTES, "CNI_NETNS=%s", netns);
  snprintf(variables[3], VARIABLE_BYTES, "CNI_IFNAME=eth0");
  snprintf(variables[4], VARIABLE_BYTES, "CNI_PATH=%s", dirname(plugin_copy));
  snprintf(variables[5], VARIABLE_BYTES, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
  char *environment[7] = {0}, *arguments[] = {plugin, NULL};
  for (int i = 0; i < 6; i++) environment[i] = variables[i];

  uint64_t before = now_ns();
  int ends[2], status, in = open(config, O_RDONLY | O_CLOEXEC);
  if (in < 0 || pipe2(ends, O_CLOEXEC) != 0) fail(config);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t pid;
  errno = posix_spawn(&pid, plugin, &actions, NULL, arguments, environment);
  if (errno) fail(plugin);
  close(in), close(ends[1]);
  read_answer(ends[0]);
  close(ends[0]);
  if (waitpid(pid, &status, 0) != pid) fail("wait");
  uint64_t after = now_ns();
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) {
    fprintf(stderr, "%s %s %s: %s\n", plugin, command, netns, answer);
    exit(1);
  }
  return (double)(after - before) / 1000;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fputs("use: cni-calls COMMAND PLUGIN CONFIG NETNS...\n", stderr);
    return 1;
  }
  for (int i = 4; i < argc; i++) {
    double us = call(argv[1], argv[2], argv[3], argv[i]);
    printf("%c{\"us\":%.1f,\"result\":%s}\n", i == 4 ? '[' : ',', us, answer[0] ? answer : "null");
  }
  puts("]");
}
