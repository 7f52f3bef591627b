/* Files and directories in the working directory, through stdio and through system calls. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void say(const char *what, long result) { printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : ""); }
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

int main(void)
{
	struct iovec iov[2] = { { "gathered ", 9 }, { "write\n", 6 } };
	struct dirent **names;
	struct stat st;
	char line[64];
	FILE *f;
	int fd, n;

	umask(022);
	say("mkdir", mkdir("dir", 0755));
	say("again", mkdir("dir", 0755));
	f = fopen("dir/a.txt", "w+");
	for (int i = 0; i < 1000; i++)
		fprintf(f, "line %d\n", i);
	rewind(f);
	for (n = 0; fgets(line, sizeof line, f); n++)
		;
	printf("%d lines, last %s", n, line);
	fclose(f);
	say("stat", stat("dir/a.txt", &st));
	printf("size %lld mode %o links %lu regular %d\n", (long long)st.st_size, st.st_mode, (unsigned long)st.st_nlink, S_ISREG(st.st_mode));
	say("link", link("dir/a.txt", "dir/b.txt"));
	say("rename", rename("dir/b.txt", "dir/c.txt"));
	say("symlink", symlink("a.txt", "dir/soft"));
	say("readlink", n = readlink("dir/soft", line, sizeof line));
	printf("%.*s\n", n, line);
	say("lstat", lstat("dir/soft", &st));
	printf("link %d\n", S_ISLNK(st.st_mode));
	fd = open("dir/d", O_RDWR | O_CREAT | O_EXCL, 0640);
	say("writev", writev(fd, iov, 2));
	say("lseek", lseek(fd, -6, SEEK_END));
	say("read", read(fd, line, 6));
	say("truncate", ftruncate(fd, 4));
	say("dup", dup2(fd, 50));
	say("seek shared", lseek(50, 0, SEEK_CUR));
	say("append flag", fcntl(50, F_GETFL) & O_ACCMODE);
	say("close", close(fd));
	say("close twice", close(fd));
	say("chmod", chmod("dir/d", 0400));
	say("access", access("dir/nothing", R_OK));
	say("open a directory for writing", open("dir", O_WRONLY));
	say("not a directory", open("dir/d/x", O_RDONLY));
	n = scandir("dir", &names, 0, by_name);
	for (int i = 0; i < n; i++)
		printf("entry %s type %d\n", names[i]->d_name, names[i]->d_type);
	say("rmdir full", rmdir("dir"));
	say("chdir", chdir("dir"));
	say("unlink", unlink("a.txt") | unlink("c.txt") | unlink("d") | unlink("soft"));
	say("up", chdir(".."));
	say("rmdir", rmdir("dir"));
	say("cwd", getcwd(line, 3) ? 0 : -1);
	return 0;
}
