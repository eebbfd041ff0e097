/*
 * Starts a program under the seccomp filters that systemd makes of a unit's SystemCallFilter, RestrictAddressFamilies and
 * RestrictNamespaces=net: what is not allowed answers with the errors that it would get there.
 *
 *   unit-sandbox CALLS FAMILIES PROGRAM ARGUMENT...      both are lists of numbers with commas
 *
 * Three filters, of which the strictest answer counts (seccomp(2)), as systemd loads them. Not imitated:
 * SystemCallArchitectures (a call of another architecture has other numbers and finds them not allowed), RestrictRealtime,
 * RestrictSUIDSGID, LockPersonality: polderd does nothing of that kind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUMBER offsetof(struct seccomp_data, nr)
/* The low half of an argument, on a little-endian machine: families and flags have no more. */
#define ARGUMENT(index) offsetof(struct seccomp_data, args[index])
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWCGROUP)
#define INSTRUCTIONS_MAX 2048

static struct sock_filter program[INSTRUCTIONS_MAX];
static unsigned short length;

static void add(unsigned short code, unsigned int value, unsigned char then, unsigned char otherwise) {
  if (length == INSTRUCTIONS_MAX) exit(2);
  program[length++] = (struct sock_filter){code, then, otherwise, value};
}

static void answer(unsigned int what) { add(BPF_RET | BPF_K, what, 0, 0); }

static void load(void) {
  struct sock_fprog filter = {length, program};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0) {
    length = 0;
    return;
  }
  perror("seccomp");
  exit(1);
}

/* Whatever is one of the numbers in `list` is allowed. */
static void allow(const char *list) {
  for (char *end; *list != '\0'; list = *end == ',' ? end + 1 : end) {
    unsigned long value = strtoul(list, &end, 10);
    if (end == list) exit(2);
    add(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)value, 0, 1);
    answer(SECCOMP_RET_ALLOW);
  }
}

/* A call of this number whose flags, its argument `index`, name another namespace than one of the network. */
static void refuse_namespaces(unsigned int number, int index) {
  add(BPF_LD | BPF_W | BPF_ABS, NUMBER, 0, 0);
  add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3);
  add(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(index), 0, 0);
  add(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1);
  answer(SECCOMP_RET_ERRNO | EPERM);
}

int main(int count, char **words) {
  if (count < 4) {
    fputs("unit-sandbox CALLS FAMILIES PROGRAM ARGUMENT...\n", stderr);
    return 2;
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 1;

  add(BPF_LD | BPF_W | BPF_ABS, NUMBER, 0, 0);
  add(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0);
  answer(SECCOMP_RET_ALLOW);
  add(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(0), 0, 0);
  allow(words[2]);
  answer(SECCOMP_RET_ERRNO | EAFNOSUPPORT);
  load();

  refuse_namespaces(SYS_unshare, 0);
  refuse_namespaces(SYS_clone, 0);
  refuse_namespaces(SYS_setns, 1);
  /* Flags of 0 would mean any; those of clone3 lie in memory, which no filter sees. */
  add(BPF_LD | BPF_W | BPF_ABS, NUMBER, 0, 0);
  add(BPF_JMP | BPF_JEQ | BPF_K, SYS_setns, 0, 3);
  add(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(1), 0, 0);
  add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
  answer(SECCOMP_RET_ERRNO | EPERM);
  add(BPF_LD | BPF_W | BPF_ABS, NUMBER, 0, 0);
  add(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
  answer(SECCOMP_RET_ERRNO | ENOSYS);
  answer(SECCOMP_RET_ALLOW);
  load();

  add(BPF_LD | BPF_W | BPF_ABS, NUMBER, 0, 0);
  allow(words[1]);
  answer(SECCOMP_RET_ERRNO | EPERM);
  load();

  execvp(words[3], words + 3);
  perror(words[3]);
  return 1;
}
