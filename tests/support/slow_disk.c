/* LD_PRELOAD: a disk that takes its time. Regular files only.
   SLOW_PWRITE_BPS: bytes a second that pwrite takes; SLOW_FSYNC_S: how long a sync lasts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
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
