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

ssize_t read(int fd, void *buffer, size_t n)
{
    REAL(read);
    return interrupted() ? -1 : real(fd, buffer, few(n));
}

ssize_t write(int fd, const void *buffer, size_t n)
{
    REAL(write);
    return interrupted() ? -1 : real(fd, buffer, few(n));
}

ssize_t pread64(int fd, void *buffer, size_t n, off64_t at)
{
    REAL(pread64);
    return interrupted() ? -1 : real(fd, buffer, few(n), at);
}

ssize_t pwrite64(int fd, const void *buffer, size_t n, off64_t at)
{
    REAL(pwrite64);
    return interrupted() ? -1 : real(fd, buffer, few(n), at);
}

ssize_t recv(int fd, void *buffer, size_t n, int flags)
{
    REAL(recv);
    return interrupted() ? -1 : real(fd, buffer, few(n), flags);
}

ssize_t send(int fd, const void *buffer, size_t n, int flags)
{
    REAL(send);
    return interrupted() ? -1 : real(fd, buffer, few(n), flags);
}

ssize_t writev(int fd, const struct iovec *pieces, int n)
{
    REAL(write);
    if (interrupted())
        return -1;
    for (; n > 1 && pieces->iov_len == 0; n--)
        pieces++;
    return real(fd, pieces->iov_base, few(pieces->iov_len));
}
