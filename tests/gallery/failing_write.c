/* Preloaded into a process: its n-th write or sync of a database file fails (FAIL_AT), and all later ones.
   FAIL_ERRNO says how. A short write comes first where FAIL_SHORT is set, as a full disk gives. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int watched(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, "people.db") != NULL;
}

static int fails(int fd) {
    static long count = 0;
    const char *at = getenv("FAIL_AT");
    if (!at || !watched(fd)) return 0;
    count++;
    return count >= atol(at);
}

static int broken(void) {
    const char *number = getenv("FAIL_ERRNO");
    errno = number ? atoi(number) : ENOSPC;
    return -1;
}

#define WRITER(name, arguments, call, size)                        \
    ssize_t name arguments {                                       \
        static ssize_t (*real) arguments;                          \
        if (!real) real = dlsym(RTLD_NEXT, #name);                 \
        if (!fails(fd)) return real call;                          \
        if (getenv("FAIL_SHORT") && size > 512) {                  \
            size = 512;                                            \
            return real call;                                      \
        }                                                          \
        return broken();                                           \
    }

WRITER(write, (int fd, const void *data, size_t size), (fd, data, size), size)
WRITER(pwrite, (int fd, const void *data, size_t size, off_t offset), (fd, data, size, offset), size)
WRITER(pwrite64, (int fd, const void *data, size_t size, off64_t offset), (fd, data, size, offset), size)

#define SYNC(name, arguments, call)                                \
    int name arguments {                                           \
        static int (*real) arguments;                              \
        if (!real) real = dlsym(RTLD_NEXT, #name);                 \
        return fails(fd) ? broken() : real call;                   \
    }

SYNC(fsync, (int fd), (fd))
SYNC(fdatasync, (int fd), (fd))
SYNC(ftruncate, (int fd, off_t size), (fd, size))
SYNC(ftruncate64, (int fd, off64_t size), (fd, size))
