/* Stops a mounted file system dead, as a power cut would: nothing that is still in memory goes to the disk, the
   journal's last entries included (XFS_IOC_GOINGDOWN with XFS_FSOP_GOING_FLAGS_NOLOGFLUSH; ext4, f2fs and others took
   the same number over). Needs root. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	uint32_t without_log = 2;
	int folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
	if (folder < 0 || ioctl(folder, _IOR('X', 125, uint32_t), &without_log) != 0) {
		perror("goingdown");
		return 1;
	}
	return 0;
}
