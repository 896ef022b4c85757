/* Stands between a program and the C library (LD_PRELOAD): a read or a write brings at most MOST octets, and every other
 * one is interrupted before it does anything. For tests/faults/pieces.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { MOST = 257 };

static int interrupted(void)
{
    static atomic_uint calls;
    if (atomic_fetch_add(&calls, 1) % 2 != 0)
        return 0;
    errno = EINTR;
    return 1;
}

static size_t few(size_t n)
{
    return n < MOST ? n : MOST;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A call with its parameters, and what the real one is given for them. */
#define CALL(name, parameters, ...) \
    ssize_t name parameters \
    { \
        REAL(name); \
        return interrupted() ? -1 : real(__VA_ARGS__); \
    }

CALL(read, (int fd, void *buffer, size_t n), fd, buffer, few(n))
CALL(write, (int fd, const void *buffer, size_t n), fd, buffer, few(n))
CALL(pread64, (int fd, void *buffer, size_t n, off64_t at), fd, buffer, few(n), at)
CALL(pwrite64, (int fd, const void *buffer, size_t n, off64_t at), fd, buffer, few(n), at)
CALL(recv, (int fd, void *buffer, size_t n, int flags), fd, buffer, few(n), flags)
CALL(send, (int fd, const void *buffer, size_t n, int flags), fd, buffer, few(n), flags)

ssize_t writev(int fd, const struct iovec *pieces, int n)
{
    REAL(write);
    if (interrupted())
        return -1;
    for (; n > 1 && pieces->iov_len == 0; n--)
        pieces++;
    return real(fd, pieces->iov_base, few(pieces->iov_len));
}
