/* A file system that fails: loaded before the C library (LD_PRELOAD), it lets calls that write fail from the Nth on.
 *
 *   FAILING_UNDER   only files whose path holds this text
 *   FAILING_FROM    number of the first call that fails (from 1); 0: none
 *   FAILING_COUNT   how many fail; 0: all from there on
 *   FAILING_ERRNO   with this error
 *   FAILING_LOG     a file that gets a line a call: its number, name and path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* Counts a call on a path; 1 if it is to fail (errno is set). */
static int fails(const char *call, const char *path) {
    const char *under = getenv("FAILING_UNDER");
    if (!under || !path || !strstr(path, under)) return 0;
    pthread_mutex_lock(&lock);
    long n = ++calls;
    const char *log = getenv("FAILING_LOG");
    if (log) {
        char line[4400];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", n, call, path);
        long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd >= 0) {
            syscall(SYS_write, fd, line, length);
            syscall(SYS_close, fd);
        }
    }
    pthread_mutex_unlock(&lock);
    long from = number("FAILING_FROM"), count = number("FAILING_COUNT");
    if (from == 0 || n < from || (count > 0 && n >= from + count)) return 0;
    errno = (int)number("FAILING_ERRNO");
    return 1;
}

static int fails_on(const char *call, int fd) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                     \
        if (WRITES(flags) && fails("open", path)) return -1;              \
        return NEXT(name)(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                      \
    int name(int folder, const char *path, int flags, ...) {              \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                     \
        if (WRITES(flags) && fails("open", path)) return -1;              \
        return NEXT(name)(folder, path, flags, mode);                     \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t count) {
    return fails_on("write", fd) ? -1 : NEXT(write)(fd, bytes, count);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fails_on("write", fd) ? -1 : NEXT(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return fails_on("write", fd) ? -1 : NEXT(pwrite)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return fails_on("write", fd) ? -1 : NEXT(pwrite64)(fd, bytes, count, at);
}
int ftruncate(int fd, off_t length) { return fails_on("truncate", fd) ? -1 : NEXT(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { return fails_on("truncate", fd) ? -1 : NEXT(ftruncate64)(fd, length); }
int fallocate(int fd, int mode, off_t at, off_t length) {
    return fails_on("allocate", fd) ? -1 : NEXT(fallocate)(fd, mode, at, length);
}
int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    return fails_on("allocate", fd) ? -1 : NEXT(fallocate64)(fd, mode, at, length);
}
int fsync(int fd) { return fails_on("sync", fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fails_on("sync", fd) ? -1 : NEXT(fdatasync)(fd); }
int rename(const char *from, const char *to) { return fails("rename", to) ? -1 : NEXT(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails("mkdir", path) ? -1 : NEXT(mkdir)(path, mode); }
int unlink(const char *path) { return fails("unlink", path) ? -1 : NEXT(unlink)(path); }
