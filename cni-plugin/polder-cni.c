/*
 * polder-cni: the CNI plugin a container runtime executes, a static program of about a millisecond. It carries the
 * call to polderd and the answer back; what a call means is decided there (daemon/cni).
 *
 *   environment, stdin --> POST /cni on polderd's Unix socket: CNI_NETNS as header CNI-Netns and so on, stdin as body
 *   200: the body to stdout, exit 0          500: the body (a CNI error) to stdout, exit 1
 *
 * On its own it knows three things: VERSION (needs no polderd); that a restarting polderd is worth waiting for, and
 * what to say where it does not come: try again later (code 11), and to STATUS that pods have no network now (code 51);
 * and that a DEL must not fail for want of a polderd: it leaves an empty file CONTAINERID@IFNAME in the spool folder,
 * which polderd acts on when it starts, and looks for now and then ('@' can be in neither name).
 *
 * It speaks HTTP/1.0, whose answers are never chunked and end with the connection. It starts no process, allocates
 * nothing, and writes nothing but the answer to stdout. Specification: CNI 0.3.1 to 1.1.0.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NEWEST_VERSION "1.1.0"
/* The same list as in daemon/cni/versions.ts; a test compares them. */
#define SUPPORTED_VERSIONS "[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]"

#define INCOMPATIBLE_VERSION 1
#define INVALID_ENVIRONMENT 4
#define IO_FAILURE 5
#define DECODING_FAILURE 6
#define INVALID_NETWORK_CONFIG 7
#define TRY_AGAIN_LATER 11
#define PODS_CUT_OFF 51

#define DEFAULT_SOCKET "/run/polder/polderd.sock"
#define DEFAULT_SPOOL "/var/lib/polder/spool"

enum {
  BODY_BYTES_MAX = 1 << 20,
  HEAD_BYTES_MAX = 15 << 10, /* Node's HTTP server takes 16 KiB of headers */
  SOCKET_BYTES_MAX = 107,    /* sun_path, with its end */
  SPOOL_BYTES_MAX = 1024,
  CONTAINER_ID_BYTES_MAX = 200,
  IF_NAME_BYTES_MAX = 15,
  WAIT_MS = 5000,
  WAIT_STEP_MS = 20,
};

/* A test compiles it with less of these two. */
#ifndef ANSWER_TIMEOUT_S
#define ANSWER_TIMEOUT_S 60
#endif
/* One for each pod that a node can have; a runtime that tries in vain makes ever more. */
#ifndef SPOOL_FILES_MAX
#define SPOOL_FILES_MAX 65536
#endif
#define TEXT_OF(number) #number
#define TEXT(macro) TEXT_OF(macro)

/* What exchange() returns besides an HTTP status. */
#define STOPPED 0
#define TOOK_TOO_LONG -1

static char config[BODY_BYTES_MAX + 1];
static size_t config_length;
static char cni_version[32];
static char socket_path[4096];
static char spool_path[4096];
static char answer[BODY_BYTES_MAX + HEAD_BYTES_MAX + 1];
static size_t answer_length;

static void write_all(int fd, const char *data, size_t length) {
  while (length > 0) {
    ssize_t written = write(fd, data, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    data += written;
    length -= (size_t)written;
  }
}

/* Appends to a zero-terminated buffer what JSON allows inside a string; cuts what does not fit. */
static void append_json_text(char *out, size_t size, const char *text) {
  size_t at = strlen(out);
  for (; *text && at + 7 < size; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') at += (size_t)sprintf(out + at, "\\%c", c);
    else if (c < 0x20) at += (size_t)sprintf(out + at, "\\u%04x", c);
    else out[at++] = (char)c;
  }
  out[at] = 0;
}

/* The CNI error result; the only way out after a failure. */
__attribute__((noreturn)) static void fail(int code, const char *message, const char *details) {
  char out[4096];
  snprintf(out, sizeof out, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"", cni_version, code);
  append_json_text(out, sizeof out - 64, message);
  strcat(out, "\",\"details\":\"");
  append_json_text(out, sizeof out - 8, details);
  strcat(out, "\"}\n");
  write_all(STDOUT_FILENO, out, strlen(out));
  exit(1);
}

/* ---- the network configuration on stdin ---- */

static void read_config(void) {
  for (;;) {
    ssize_t got = read(STDIN_FILENO, config + config_length, sizeof config - config_length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EBADF) fail(IO_FAILURE, "cannot read the network configuration from stdin", strerror(errno));
    if (got <= 0) break;
    config_length += (size_t)got;
    if (config_length > BODY_BYTES_MAX)
      fail(DECODING_FAILURE, "the network configuration on stdin is larger than 1 MiB", "polder-cni reads no more");
  }
  config[config_length] = 0;
}

/* Reads the JSON string that starts at the quote `text`, undoes its escapes, returns what follows it. */
static const char *read_json_text(const char *text, char *out, size_t size) {
  size_t at = 0;
  for (text++; *text && *text != '"'; text++) {
    char c = *text;
    if (c == '\\' && text[1]) {
      c = *++text;
      if (c == 'u' && strlen(text) > 4) {
        char hex[5] = {text[1], text[2], text[3], text[4], 0};
        unsigned long code = strtoul(hex, NULL, 16);
        c = code > 0 && code < 0x80 ? (char)code : '?';
        text += 4;
      } else if (c == 'n' || c == 't' || c == 'r' || c == 'b' || c == 'f') {
        c = ' ';
      }
    }
    if (at + 1 < size) out[at++] = c;
  }
  out[at] = 0;
  return *text ? text + 1 : text;
}

static const char *skip_space(const char *text) { return text + strspn(text, " \t\r\n"); }

/* A string member of the outermost object; `out` stays as it is where there is none. polderd does the real parsing. */
static void read_member(const char *key, char *out, size_t size) {
  char name[64];
  int depth = 0;
  for (const char *at = config; *at;) {
    if (*at != '"') {
      if (*at == '{' || *at == '[') depth++;
      if (*at == '}' || *at == ']') depth--;
      at++;
      continue;
    }
    at = skip_space(read_json_text(at, name, sizeof name));
    if (depth != 1 || *at != ':' || strcmp(name, key) != 0) continue;
    at = skip_space(at + 1);
    if (*at == '"') read_json_text(at, out, size);
    return;
  }
}

/* The runtime's version, or ours where it gives none that could be one: it goes into our own JSON as it is. */
static void choose_version(void) {
  read_member("cniVersion", cni_version, sizeof cni_version);
  if (cni_version[0] == 0 || cni_version[strspn(cni_version, "0123456789.")] != 0) strcpy(cni_version, NEWEST_VERSION);
}

/* From the configuration's key, else the environment, else the default. */
static void choose_path(const char *key, const char *variable, const char *standard, char *out, size_t size, size_t max) {
  const char *value = getenv(variable);
  snprintf(out, size, "%s", value && value[0] ? value : standard);
  read_member(key, out, size);
  char message[128];
  snprintf(message, sizeof message, "%s in the network configuration, or %s, must be an absolute path of 1 to %zu bytes", key,
           variable, max);
  if (out[0] != '/' || strlen(out) > max) fail(INVALID_NETWORK_CONFIG, message, out);
}

/* ---- talking to polderd ---- */

/* Connects, or returns -1 with errno. The timeout also bounds a connect to a socket nobody accepts from. */
static int connect_daemon(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, socket_path);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A restarting polderd has no socket for a moment, or one that refuses. */
static int wait_for_daemon(void) {
  long deadline_ms = now_ms() + WAIT_MS;
  for (;;) {
    int fd = connect_daemon();
    if (fd >= 0 || (errno != ENOENT && errno != ECONNREFUSED) || now_ms() >= deadline_ms) return fd;
    struct timespec step = {.tv_nsec = WAIT_STEP_MS * 1000000L};
    nanosleep(&step, NULL);
  }
}

/* The request line and headers. A control character would end a header early: refused, naming the variable. */
static size_t build_head(char *head, size_t size) {
  static const char *const variables[][2] = {
      {"CNI_COMMAND", "CNI-Command"}, {"CNI_CONTAINERID", "CNI-Containerid"}, {"CNI_NETNS", "CNI-Netns"},
      {"CNI_IFNAME", "CNI-Ifname"},   {"CNI_ARGS", "CNI-Args"},               {"CNI_PATH", "CNI-Path"},
  };
  size_t at = (size_t)snprintf(head, size, "POST /cni HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n",
                               config_length);
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
    const char *value = getenv(variables[i][0]);
    if (!value) continue;
    for (const char *c = value; *c; c++)
      if ((unsigned char)*c < 0x20 || *c == 0x7f)
        fail(INVALID_ENVIRONMENT, "an environment variable holds a control character", variables[i][0]);
    at += (size_t)snprintf(head + at, size - at, "%s: %s\r\n", variables[i][1], value);
    if (at + 3 > size) fail(INVALID_ENVIRONMENT, "the CNI_ environment variables are too long", variables[i][0]);
  }
  return at + (size_t)snprintf(head + at, size - at, "\r\n");
}

static int send_all(int fd, const char *data, size_t length) {
  while (length > 0) {
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return 0;
    data += sent;
    length -= (size_t)sent;
  }
  return 1;
}

/*
 * One exchange on `fd`, which it closes. Returns the HTTP status and leaves the body in *body, or says that polderd
 * stopped, or took too long, before all of its answer was here.
 */
static int exchange(int fd, const char *head, size_t head_length, const char **body) {
  /* An answer may come although not all was taken: polderd refuses what is too large without reading it. */
  if (send_all(fd, head, head_length)) send_all(fd, config, config_length);
  answer_length = 0;
  int without_answer = STOPPED;
  for (;;) {
    ssize_t got = recv(fd, answer + answer_length, sizeof answer - 1 - answer_length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) without_answer = TOOK_TOO_LONG;
    if (got <= 0) break;
    answer_length += (size_t)got;
  }
  close(fd);
  answer[answer_length] = 0;
  int status = 0;
  char *end = strstr(answer, "\r\n\r\n");
  if (!end || sscanf(answer, "HTTP/1.%*1[01] %3d", &status) != 1) return without_answer;
  *end = 0;
  *body = end + 4;
  const char *announced = strcasestr(answer, "\r\nContent-Length:");
  size_t body_length = answer_length - (size_t)(*body - answer);
  if (announced && strtoul(announced + 17, NULL, 10) != body_length) return without_answer;
  return status;
}

/* ---- a DEL without polderd ---- */

/* The names become a file's name: what polderd would refuse must not get there. */
static void check_names(const char *container_id, const char *if_name) {
  static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  if (!container_id || strlen(container_id) > CONTAINER_ID_BYTES_MAX || strspn(container_id, word) < 1 ||
      container_id[strspn(container_id, word)] || strchr("_.-", container_id[0]))
    fail(INVALID_ENVIRONMENT, "CNI_CONTAINERID is missing or is no container id",
         "letters and digits, and after the first also _ . -, at most 200");
  if (!if_name || !if_name[0] || strlen(if_name) > IF_NAME_BYTES_MAX || strpbrk(if_name, "/: \t\n\v\f\r") ||
      strcmp(if_name, ".") == 0 || strcmp(if_name, "..") == 0)
    fail(INVALID_ENVIRONMENT, "CNI_IFNAME is missing or is no interface name",
         "1 to 15 characters, without / : and white space");
}

/* Why a DEL cannot be kept; the runtime tries again. */
__attribute__((noreturn)) static void fail_to_spool(const char *path) {
  char message[160], details[sizeof spool_path + 512];
  snprintf(message, sizeof message, "polderd does not answer, and the DEL cannot be kept for it: %s", strerror(errno));
  snprintf(details, sizeof details, "%s: start polderd, or see 'df', 'df -i' and 'mount'", path);
  fail(TRY_AGAIN_LATER, message, details);
}

static unsigned count_entries(int folder) {
  static char buffer[1 << 15] __attribute__((aligned(16)));
  unsigned count = 0;
  ssize_t got;
  while ((got = getdents64(folder, buffer, sizeof buffer)) > 0)
    for (ssize_t at = 0; at < got; at += ((struct dirent64 *)(buffer + at))->d_reclen) count++;
  return count - 2; /* . and .. */
}

/* An empty file: created in one step, so that it is either there or not. It need not survive a power cut, for no
 * attachment does. */
static void spool(char *path, size_t size) {
  const char *container_id = getenv("CNI_CONTAINERID"), *if_name = getenv("CNI_IFNAME");
  check_names(container_id, if_name);
  for (char *slash = strchr(spool_path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(spool_path, 0755);
    *slash = '/';
  }
  mkdir(spool_path, 0700);
  snprintf(path, size, "%s/%s@%s", spool_path, container_id, if_name);
  int folder = open(spool_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail_to_spool(spool_path);
  if (access(path, F_OK) != 0 && count_entries(folder) >= SPOOL_FILES_MAX)
    fail(TRY_AGAIN_LATER, "polderd does not answer, and as many DELs are kept for it as there may be: start it", spool_path);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) fail_to_spool(path);
  close(fd);
  close(folder);
}

static int deliver(int status, const char *body) {
  write_all(STDOUT_FILENO, body, answer_length - (size_t)(body - answer));
  return status == 200 ? 0 : 1;
}

static int is_answer(int status) { return status == 200 || status == 500; }

/*
 * polderd listens first and drains the spool then. So either it finds our file, or it already listens when we try once
 * more after writing it: no DEL falls between.
 */
static int delete_attachment(const char *head, size_t head_length) {
  const char *body;
  int fd = connect_daemon();
  int status = fd < 0 ? STOPPED : exchange(fd, head, head_length, &body);
  if (is_answer(status)) return deliver(status, body);
  char path[sizeof spool_path + CONTAINER_ID_BYTES_MAX + IF_NAME_BYTES_MAX + 8];
  spool(path, sizeof path);
  if (fd >= 0 || (fd = connect_daemon()) < 0) return 0;
  status = exchange(fd, head, head_length, &body);
  if (!is_answer(status)) return 0;
  if (status == 200) unlink(path);
  return deliver(status, body);
}

/* Nobody came within the time. To STATUS that is no mere delay: who forwards the pods' packets is not there. */
__attribute__((noreturn)) static void fail_without_daemon(const char *command) {
  if (strcmp(command, "STATUS") != 0) fail(TRY_AGAIN_LATER, "polderd does not answer: start it, or see its log", socket_path);
  if (strcmp(cni_version, NEWEST_VERSION) != 0)
    fail(INCOMPATIBLE_VERSION, "incompatible CNI version: it has no STATUS", "STATUS needs cniVersion " NEWEST_VERSION);
  fail(PODS_CUT_OFF, "polderd does not answer, and the pods of this node have no network: start it, or see its log",
       socket_path);
}

int main(void) {
  strcpy(cni_version, NEWEST_VERSION);
  const char *command = getenv("CNI_COMMAND");
  if (!command || !command[0])
    fail(INVALID_ENVIRONMENT, "CNI_COMMAND is missing",
         "polder-cni is a CNI plugin: a container runtime executes it, with CNI_COMMAND and others in its environment");
  read_config();
  choose_version();
  if (strcmp(command, "VERSION") == 0)
    return printf("{\"cniVersion\":\"%s\",\"supportedVersions\":" SUPPORTED_VERSIONS "}\n", cni_version) < 0;
  choose_path("socket", "POLDER_SOCKET", DEFAULT_SOCKET, socket_path, sizeof socket_path, SOCKET_BYTES_MAX);
  choose_path("spool", "POLDER_SPOOL", DEFAULT_SPOOL, spool_path, sizeof spool_path, SPOOL_BYTES_MAX);

  char head[HEAD_BYTES_MAX];
  size_t head_length = build_head(head, sizeof head);
  if (strcmp(command, "DEL") == 0) return delete_attachment(head, head_length);

  int fd = wait_for_daemon();
  if (fd < 0 && errno != ENOENT && errno != ECONNREFUSED) fail(IO_FAILURE, strerror(errno), socket_path);
  if (fd < 0) fail_without_daemon(command);
  const char *body;
  int status = exchange(fd, head, head_length, &body);
  if (status == STOPPED) fail(TRY_AGAIN_LATER, "polderd stopped before it answered", socket_path);
  if (status == TOOK_TOO_LONG)
    fail(TRY_AGAIN_LATER, "polderd did not answer within " TEXT(ANSWER_TIMEOUT_S) " s: see its log", socket_path);
  if (!is_answer(status)) fail(IO_FAILURE, "polderd's socket gave an answer that is not CNI", body);
  return deliver(status, body);
}
