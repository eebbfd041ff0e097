/*
 * What systemd does for a Type=notify service with a descriptor store, by the real protocol: sd_notify(3) and
 * sd_listen_fds(3) from the other side.
 *
 *   systemd-stand-in SOCKET WATCHDOG_USEC COMMAND...
 *
 * Starts COMMAND with NOTIFY_SOCKET, again whenever its main process ends (Restart=always), then with what it had stored
 * open from 3 on. Prints each notification as a line `notify PID: A=1 B=2`. A line `reload` on stdin runs COMMAND --reload
 * beside it, as ExecReload does, and prints `reloaded CODE`. SIGTERM goes to the main process, whose end is then its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STORED_MAX = 64, TEXT_MAX = 1024, LOOK_MS = 20, PARKED_FROM = 100 };

static struct {
  char name[256];
  int fd;
} stored[STORED_MAX];
static int stored_count;
static pid_t main_pid, reload_pid;
static volatile sig_atomic_t stopping;

static void stop(int signal) {
  (void)signal;
  stopping = 1;
}

static pid_t start(char **command, const char *socket, const char *watchdog, bool reload) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  char *arguments[64] = {0}, names[STORED_MAX * sizeof stored[0]] = "", number[16];
  int count = 0;
  while (command[count] && count < 62) arguments[count] = command[count], count++;
  setenv("NOTIFY_SOCKET", socket, 1);
  if (reload) arguments[count] = "--reload";
  else {
    for (int i = 0; i < stored_count; i++) {
      dup2(stored[i].fd, 3 + i);
      if (i) strcat(names, ":");
      strcat(names, stored[i].name);
    }
    setenv("WATCHDOG_USEC", watchdog, 1);
    snprintf(number, sizeof number, "%d", getpid());
    setenv("LISTEN_PID", number, 1);
    setenv("WATCHDOG_PID", number, 1);
    snprintf(number, sizeof number, "%d", stored_count);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names, 1);
  }
  signal(SIGTERM, SIG_DFL);
  execvp(arguments[0], arguments);
  _exit(127);
}

static void drop(const char *name) {
  for (int i = 0; i < stored_count; i++) {
    if (strcmp(stored[i].name, name) != 0) continue;
    close(stored[i].fd);
    stored[i--] = stored[--stored_count];
  }
}

static void hear(int socket) {
  char text[TEXT_MAX + 1], *name = "stored";
  union {
    char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct cmsghdr align;
  } control;
  struct iovec vector = {text, TEXT_MAX};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (length <= 0) return;
  text[length] = 0;
  int fd = -1;
  struct ucred sender = {0};
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(header), sizeof fd);
    if (header->cmsg_type == SCM_CREDENTIALS) memcpy(&sender, CMSG_DATA(header), sizeof sender);
  }
  printf("notify %d:", sender.pid);
  bool removes = false;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    printf(" %s", line);
    if (strncmp(line, "FDNAME=", 7) == 0) name = line + 7;
    if (strncmp(line, "MAINPID=", 8) == 0) main_pid = atoi(line + 8);
    if (strcmp(line, "FDSTOREREMOVE=1") == 0) removes = true;
  }
  puts("");
  fflush(stdout);
  if (removes) drop(name);
  if (fd < 0) return;
  /* Out of the way of those that a service finds from 3 on. */
  snprintf(stored[stored_count].name, sizeof stored->name, "%s", name);
  stored[stored_count++].fd = fcntl(fd, F_DUPFD_CLOEXEC, PARKED_FROM);
  close(fd);
}

int main(int argc, char **argv) {
  if (argc < 4) return 64;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
  int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, code = 0;
  unlink(argv[1]);
  if (bind(notify, (struct sockaddr *)&address, sizeof address) != 0) return 1;
  setsockopt(notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  /* Whose parent ended, a service's process too. */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGTERM, stop);
  main_pid = start(argv + 3, argv[1], argv[2], false);
  bool told = false;
  struct pollfd wait[2] = {{.fd = notify, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
  for (;;) {
    char line[64];
    if (poll(wait, 2, LOOK_MS) > 0) {
      if (wait[0].revents) hear(notify);
      else if (wait[1].revents && read(STDIN_FILENO, line, sizeof line) > 0) reload_pid = start(argv + 3, argv[1], argv[2], true);
      else if (wait[1].revents) wait[1].fd = -1;
    }
    if (stopping && !told) told = true, kill(main_pid, SIGTERM);
    for (pid_t pid; (pid = waitpid(-1, &code, WNOHANG)) > 0;) {
      while (poll(wait, 1, 0) > 0) hear(notify);
      if (pid == reload_pid) printf("reloaded %d\n", WEXITSTATUS(code)), fflush(stdout);
      if (pid != main_pid) continue;
      if (stopping) return WIFEXITED(code) ? WEXITSTATUS(code) : 128;
      main_pid = start(argv + 3, argv[1], argv[2], false);
    }
  }
}
