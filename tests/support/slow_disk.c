/* LD_PRELOAD: a disk that takes its time. Regular files only.
   SLOW_PWRITE_BPS, SLOW_PREAD_BPS: bytes a second that pwrite takes and pread gives; SLOW_FSYNC_S: how long a sync lasts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static double setting(const char *name) {
  const char *text = getenv(name);
  return text ? atof(text) : 0;
}

static void rest(double seconds) {
  struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&time, NULL);
}

static int is_regular(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
  double rate = setting("SLOW_PWRITE_BPS");
  if (rate > 0 && is_regular(fd)) rest((double)size / rate);
  return next(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

static ssize_t read_slowly(int fd, ssize_t size) {
  double rate = setting("SLOW_PREAD_BPS");
  if (rate > 0 && size > 0 && is_regular(fd)) rest((double)size / rate);
  return size;
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
  ssize_t (*next)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
  return read_slowly(fd, next(fd, data, size, offset));
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) { return pread64(fd, data, size, offset); }

ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset) {
  ssize_t (*next)(int, const struct iovec *, int, off64_t) = dlsym(RTLD_NEXT, "preadv64");
  return read_slowly(fd, next(fd, parts, count, offset));
}

ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) {
  return preadv64(fd, parts, count, offset);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) {
  ssize_t (*next)(int, const struct iovec *, int, off64_t, int) = dlsym(RTLD_NEXT, "preadv64v2");
  return read_slowly(fd, next(fd, parts, count, offset, flags));
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
  return preadv64v2(fd, parts, count, offset, flags);
}

int fsync(int fd) {
  int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
  if (is_regular(fd)) rest(setting("SLOW_FSYNC_S"));
  return next(fd);
}

int syncfs(int fd) {
  int (*next)(int) = dlsym(RTLD_NEXT, "syncfs");
  rest(setting("SLOW_FSYNC_S"));
  return next(fd);
}
