/*
 * Memory that outlives the process: a file mapped into it, shared with every other process and thread that maps it.
 * JavaScript sees an ArrayBuffer; it is unmapped when that is collected. Each thread maps for itself: an ArrayBuffer
 * that is posted would leave its first owner with nothing. And memory that the process can do without.
 */
#define _GNU_SOURCE
#include "addon.h"
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

static void unmap(napi_env env, void *bytes, void *hint) {
  (void)env;
  munmap(bytes, (size_t)(uintptr_t)hint);
}

/* mapFile(fd, bytes) -> ArrayBuffer; the descriptor may be closed afterwards */
napi_value map_file(napi_env env, napi_callback_info info) {
  napi_value argv[2], result;
  int32_t fd;
  double bytes;
  if (!arguments(env, info, 2, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  if (napi_get_value_double(env, argv[1], &bytes) != napi_ok || bytes < 1 || bytes > 1e12)
    return throw_errno(env, EINVAL, "map a file");
  void *at = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return throw_errno(env, errno, "map a file");
  void *hint = (void *)(uintptr_t)(size_t)bytes;
  if (napi_create_external_arraybuffer(env, at, (size_t)bytes, unmap, hint, &result) == napi_ok) return result;
  munmap(at, (size_t)bytes);
  return throw_errno(env, ENOMEM, "map a file");
}

/*
 * reserveFile(fd, offset, bytes) -> whether there is memory behind that part of the file now. Touching a mapped page for
 * which there is none kills the process; so it is asked for first.
 */
napi_value reserve_file(napi_env env, napi_callback_info info) {
  napi_value argv[3], result;
  int32_t fd;
  double offset, bytes;
  if (!arguments(env, info, 3, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  if (napi_get_value_double(env, argv[1], &offset) != napi_ok || napi_get_value_double(env, argv[2], &bytes) != napi_ok)
    return throw_errno(env, EINVAL, "reserve room in a file");
  int error = posix_fallocate(fd, (off_t)offset, (off_t)bytes);
  if (error && error != ENOSPC && error != EDQUOT && error != ENOMEM) return throw_errno(env, error, "reserve room in a file");
  napi_get_boolean(env, error == 0, &result);
  return result;
}

/* The parts of the program that nobody writes to: its code and constants. What is used again comes from the page cache. */
static int let_go_of_program(struct dl_phdr_info *object, size_t size, void *hint) {
  (void)size, (void)hint;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
    uintptr_t begin = (object->dlpi_addr + part->p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (object->dlpi_addr + part->p_vaddr + part->p_filesz) & ~(page - 1);
    if (end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED);
  }
  return 1; /* the first object is the program itself; libraries are small */
}

/*
 * releaseMemory(): gives back what malloc keeps though it is free (compiling leaves megabytes), and the pages of the
 * program that were needed once. Nothing is lost by it; what of the program is used next is mapped again, 64 KB at a time.
 */
napi_value release_memory(napi_env env, napi_callback_info info) {
  (void)env, (void)info;
  malloc_trim(0);
  dl_iterate_phdr(let_go_of_program, NULL);
  return NULL;
}
